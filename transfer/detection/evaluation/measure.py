"""What a model is worth on one split, by the evaluator that the configuration names."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn

from pretrain.runtime.processes.watch import deaths_told
from transfer.detection.data.loading import Watched
from transfer.detection.evaluation.evaluators import all_evaluators
from transfer.detection.evaluation.evaluators.base import Measured, Question
from transfer.detection.tasks import task_of


def measure_split(cfg: CfgNode, model: nn.Module, split: str, out: Path) -> Measured:
    """Run the model once over a split of detectron2's catalogue; every rank must call it.

    The tables that pycocotools prints go to the log.

    Args:
        cfg: names the evaluator, DATASETS.EVALUATOR.
        model: in any mode; detectron2 puts it into eval mode and back.
        split: its name in detectron2's catalogues.
        out: folder for the evaluator's own files.

    Returns:
        the evaluator's metrics, in percent: KIND_METRIC such as bbox_AP50, or metrics of labels such as mIoU. Empty on
        ranks other than 0.
    """
    task, evaluator = task_of(cfg), all_evaluators()[cfg.DATASETS.EVALUATOR]
    question = Question(cfg, split, tuple(task.kinds(cfg)), out)
    printed = io.StringIO()
    loader = Watched(build_detection_test_loader(cfg, split, mapper=task.mapper(cfg, False)), split)
    with contextlib.redirect_stdout(printed), deaths_told(loader.patience):
        judges = evaluator.open(question)
        outputs = inference_on_dataset(model, loader, _OnePass(judges))
    logging.getLogger("detectron2").info("evaluation:\n%s", printed.getvalue())
    if not outputs or not any(outputs):  # ranks other than 0
        return Measured()
    measured = evaluator.summarise(outputs, question.kinds, evaluator.metrics)
    for judge in judges:
        measured.curves |= getattr(judge, "curves", {})
    return measured


class _OnePass(DatasetEvaluator):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """Several evaluators over one pass; detectron2's own refuses two that name the same kind."""

    def __init__(self, judges: Sequence[DatasetEvaluator]) -> None:
        self._judges = judges

    def reset(self) -> None:
        for judge in self._judges:
            judge.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        for judge in self._judges:
            judge.process(inputs, outputs)

    def evaluate(self) -> list[dict[str, Any]]:
        return [judge.evaluate() for judge in self._judges]
