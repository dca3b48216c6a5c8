"""What a model is worth on one split, in percent: AP of boxes, masks and keypoints, or IoU; by class, with curves."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import (
    DatasetEvaluator,
    PascalVOCDetectionEvaluator,
    SemSegEvaluator,
    inference_on_dataset,
)
from torch import nn

from transfer.detection.config.validate import SEMANTIC
from transfer.detection.data.semantic import SemanticMapper, labels_of
from transfer.detection.evaluation.lvis_ap import FREQUENCIES, FederatedEvaluator
from transfer.detection.evaluation.pr_curves import CurvesEvaluator

METRICS = ("AP", "AP50", "AP75")
IOU_METRICS = ("mIoU", "fwIoU", "mACC", "pACC")


@dataclass
class Measured:
    """metrics: by name, in percent. by_class: kind to class to percent. curves: kind to what `precision` samples.

    Without curves for LVIS and for labels.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)


def measure(cfg: CfgNode, model: nn.Module, name: str, out: Path) -> Measured:
    """Run the model over the split `name` of detectron2's catalogue; every rank must call it.

    A detector that finds nothing at all has AP 0 (detectron2 says NaN). Under the Pascal VOC evaluator metrics are
    its own, classes and curves COCO's on the same predictions. The tables that pycocotools prints go to the log.

    Returns:
        bbox_AP, bbox_AP50, bbox_AP75 and, where the model has them, segm_* and keypoints_*, of LVIS also those of its
        rare, common and frequent classes; or mIoU, fwIoU, mACC and
        pACC. Empty on ranks other than 0.
    """
    semantic = cfg.MODEL.META_ARCHITECTURE == SEMANTIC
    kinds = ["iou"] if semantic else ["bbox", *_more_kinds(cfg)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluators = _evaluators(cfg, name, kinds, out)
        mapper = {"mapper": SemanticMapper(cfg, False)} if semantic else {}
        loader = build_detection_test_loader(cfg, name, **mapper)
        found = inference_on_dataset(model, loader, _Together(evaluators))
    logging.getLogger("detectron2").info("evaluation:\n%s", printed.getvalue())
    if not found or not any(found):  # ranks other than 0
        return Measured()
    if semantic:
        scores = found[0]["sem_seg"]
        return Measured({key: _number(scores[key]) for key in IOU_METRICS}, {"iou": _by_class(scores, "IoU-")})
    names = (*METRICS, *FREQUENCIES.values()) if cfg.DATASETS.EVALUATOR == "lvis" else METRICS
    metrics = {f"{kind}_{name}": _number(found[0][kind].get(name, 0.0)) for kind in kinds for name in names}
    by_class = {kind: _by_class(found[-1][kind], "AP-") for kind in kinds if kind in found[-1]}
    curves = evaluators[-1].curves if isinstance(evaluators[-1], CurvesEvaluator) else {}
    return Measured(metrics, {kind: table for kind, table in by_class.items() if table}, curves)


def _more_kinds(cfg: CfgNode) -> list[str]:
    one_stage = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    more = (("segm", cfg.MODEL.MASK_ON), ("keypoints", cfg.MODEL.KEYPOINT_ON))
    return [] if one_stage else [kind for kind, there in more if there]


def _evaluators(cfg: CfgNode, name: str, kinds: Sequence[str], out: Path) -> list[DatasetEvaluator]:
    """The evaluator of the metrics first, the one that tells classes and curves last."""
    if cfg.DATASETS.EVALUATOR == "iou":
        return [SemSegEvaluator(name, output_dir=str(out), sem_seg_loading_fn=_labels)]
    if cfg.DATASETS.EVALUATOR == "lvis":
        return [FederatedEvaluator(name, kinds)]
    detailed = CurvesEvaluator(
        name,
        tuple(kinds),
        output_dir=str(out),
        use_fast_impl=False,
        allow_cached_coco=False,
        kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
    )
    return [PascalVOCDetectionEvaluator(name), detailed] if cfg.DATASETS.EVALUATOR == "voc" else [detailed]


def _labels(path: str, dtype: type) -> Any:
    return labels_of(path).astype(dtype)


class _Together(DatasetEvaluator):
    """Several evaluators over one pass; detectron2's own refuses two that name the same kind."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> list[dict[str, Any]]:
        return [evaluator.evaluate() for evaluator in self._evaluators]


def _by_class(scores: dict[str, Any], prefix: str) -> dict[str, float]:
    """The classes that occur in the split; the others have no number."""
    named = {key.removeprefix(prefix): float(value) for key, value in scores.items() if key.startswith(prefix)}
    return {name: value for name, value in named.items() if not math.isnan(value)}


def _number(value: Any) -> float:
    return 0.0 if math.isnan(float(value)) else float(value)
