"""The numbers of a detection configuration: all are finite, and those that decide a training have a range."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import Rule
from pretrain.runtime.printable import shortened

LONGEST = 100_000_000  # iterations and images, far above any schedule


def _count(at_least: int, at_most: int = LONGEST) -> Rule:
    return Rule("", at_least=at_least, at_most=at_most)


SHARE = Rule("", at_least=0, at_most=1)
RANGES = {
    "SEED": _count(0, 2**31 - 1),
    "SOLVER.BASE_LR": Rule("", above=0),
    "SOLVER.GAMMA": Rule("", above=0),
    "SOLVER.MOMENTUM": Rule("", at_least=0, below=1),
    "SOLVER.WEIGHT_DECAY": Rule("", at_least=0),
    "SOLVER.WEIGHT_DECAY_NORM": Rule("", at_least=0),
    "SOLVER.MAX_ITER": _count(1),
    "SOLVER.STEPS": _count(0),
    "SOLVER.IMS_PER_BATCH": _count(1, 1_000_000),
    "SOLVER.WARMUP_ITERS": _count(0),
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.CHECKPOINT_PERIOD": _count(1),
    "SOLVER.REFERENCE_WORLD_SIZE": _count(0, 1_000_000),
    "DATALOADER.NUM_WORKERS": _count(0, 1024),
    "INPUT.MIN_SIZE_TRAIN": _count(1, 65_535),
    "INPUT.MIN_SIZE_TEST": _count(0, 65_535),
    "INPUT.MAX_SIZE_TRAIN": _count(1, 65_535),
    "INPUT.MAX_SIZE_TEST": _count(1, 65_535),
    "MODEL.ROI_HEADS.NUM_CLASSES": _count(0, 1_000_000),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _count(1),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": SHARE,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "TEST.DETECTIONS_PER_IMAGE": _count(1, 1_000_000),
    "TEST.EVAL_PERIOD": _count(0),
    "TEST.PRECISE_BN.NUM_ITER": _count(1),
}
ANY = Rule("")


def check_ranges(cfg: CfgNode) -> None:
    """Refuse a number that is not finite, or out of the range of its key.

    Raises:
        UserError: naming the key, its value and its range.
    """
    _check(cfg, "")


def _check(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, below in value.items():
            _check(below, f"{key}.{name}" if key else name)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _check(one, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        rule = RANGES.get(key, ANY)
        if not rule.holds(value):
            raise UserError(f"{key}={shortened(value)} is out of range: it must be {rule.wanted(value)}.")
