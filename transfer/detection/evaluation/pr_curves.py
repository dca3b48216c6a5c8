"""Precision over recall of a detector, from pycocotools' own accumulation."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator

IOUS = {"0.50": 0, "0.75": 5}  # index among COCO's thresholds .50, .55, ..., .95
ALL_AREAS, MOST_DETECTIONS = 0, -1
EVERY = 5  # one recall of so many of the 101


class CurvesEvaluator(COCOEvaluator):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """detectron2's COCO evaluator that also keeps the precision-recall curves which it averages into AP.

    curves: kind to {"recall": [...], "0.50": [...], "0.75": [...]}, in percent, the mean over the classes that occur.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.curves: dict[str, dict[str, list[float]]] = {}

    def _derive_coco_results(self, coco_eval: Any, iou_type: str, class_names: Any = None) -> dict[str, float]:
        if coco_eval is not None:
            self.curves[iou_type] = mean_curves(coco_eval.eval["precision"], coco_eval.params.recThrs)
        numbers: dict[str, float] = super()._derive_coco_results(coco_eval, iou_type, class_names)
        return numbers


def mean_curves(precision: np.ndarray, recalls: np.ndarray) -> dict[str, list[float]]:
    """Mean precision over classes at every fifth recall, for two IoU thresholds.

    Args:
        precision: (IoUs, recalls, classes, areas, limits) of pycocotools, -1 where a class does not occur.
        recalls: (recalls,) in 0..1.

    Returns:
        {"recall": recalls, "0.50": precisions, "0.75": precisions}, in percent.
    """
    curves = {"recall": [round(100 * float(value), 2) for value in recalls[::EVERY]]}
    for name, index in IOUS.items():
        of_classes = precision[index, ::EVERY, :, ALL_AREAS, MOST_DETECTIONS]
        present = of_classes[:, (of_classes > -1).all(axis=0)]
        curves[name] = [round(100 * float(value), 2) for value in present.mean(axis=1)] if present.size else []
    return curves
