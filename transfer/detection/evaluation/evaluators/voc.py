"""AP as Pascal VOC defines it: with 11 points of recall on VOC 2007, over all recalls on VOC 2012."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer.detection.evaluation.evaluators.base import (
    AVERAGE_PRECISIONS,
    Evaluator,
    Question,
    summarise_precisions,
)
from transfer.detection.evaluation.evaluators.coco import open_coco

if TYPE_CHECKING:
    from detectron2.evaluation import DatasetEvaluator


def open_voc(question: Question) -> list[DatasetEvaluator]:
    """Pascal VOC's rules for the metrics, and COCO's on the same predictions for classes and curves."""
    from transfer.detection.evaluation.voc_ap import CheckedVOCEvaluator

    return [CheckedVOCEvaluator(question.split), *open_coco(question)]


EVALUATOR = Evaluator(
    name="voc",
    help="AP, AP50 and AP75 of boxes by the rules of Pascal VOC, as in detectron2; classes and curves are COCO's",
    protocol="VOC07 AP",
    metrics=AVERAGE_PRECISIONS,
    open=open_voc,
    summarise=summarise_precisions,
)
