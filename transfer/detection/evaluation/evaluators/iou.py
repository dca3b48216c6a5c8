"""Intersection over union of predicted and annotated pixels of each class, by detectron2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transfer.detection.data.formats.base import SEMANTIC
from transfer.detection.evaluation.evaluators.base import (
    Evaluator,
    Measured,
    Output,
    Question,
    number_or_zero,
    scores_by_class,
)

if TYPE_CHECKING:
    from detectron2.evaluation import DatasetEvaluator


def open_iou(question: Question) -> list[DatasetEvaluator]:
    """detectron2's evaluator on labels as they are; its own reader would convert a palette."""
    from detectron2.evaluation import SemSegEvaluator

    return [SemSegEvaluator(question.split, output_dir=str(question.out), sem_seg_loading_fn=_labels)]


def _labels(path: str, dtype: type) -> Any:
    from transfer.annotations.labels import label_image

    return label_image(path).astype(dtype)


def summarise_iou(outputs: Sequence[Output], kinds: Sequence[str], metrics: Sequence[str]) -> Measured:
    """The metrics and the IoU of each class."""
    scores = outputs[0]["sem_seg"]
    by_class = {kind: scores_by_class(scores, "IoU-") for kind in kinds}
    return Measured({metric: number_or_zero(scores[metric]) for metric in metrics}, by_class)


EVALUATOR = Evaluator(
    name="iou",
    help="mean and frequency-weighted IoU, mean and pixel accuracy of label images",
    protocol="mean IoU",
    metrics=("mIoU", "fwIoU", "mACC", "pACC"),
    open=open_iou,
    summarise=summarise_iou,
    task=SEMANTIC,
)
