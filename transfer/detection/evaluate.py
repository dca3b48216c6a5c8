"""The AP of a detector on one split, in percent."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, PascalVOCDetectionEvaluator, inference_on_dataset
from torch import nn

METRICS = ("AP", "AP50", "AP75")


def average_precision(cfg: CfgNode, model: nn.Module, name: str, out: Path) -> dict[str, float]:
    """Run the detector over the split `name` of detectron2's catalogue; every rank must call it.

    A detector that finds nothing at all has AP 0 (detectron2 says NaN). The tables that pycocotools prints go to the
    log.

    Returns:
        bbox_AP, bbox_AP50, bbox_AP75 and, of a detector with masks, segm_*, in percent; {} on ranks other than 0.
    """
    kinds = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
    evaluator: DatasetEvaluator
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if cfg.DATASETS.EVALUATOR == "voc":
            evaluator = PascalVOCDetectionEvaluator(name)
        else:
            evaluator = COCOEvaluator(name, kinds, output_dir=str(out), use_fast_impl=False, allow_cached_coco=False)
        loader = build_detection_test_loader(cfg, name)
        found = inference_on_dataset(model, loader, evaluator)
    logging.getLogger("detectron2").info("evaluation:\n%s", printed.getvalue())
    if not found:  # ranks other than 0; on rank 0 both evaluators name each kind, or detectron2 saw no image
        return {}
    values = {f"{kind}_{metric}": float(found[kind][metric]) for kind in kinds for metric in METRICS}
    return {key: 0.0 if math.isnan(value) else value for key, value in values.items()}
