"""config.json as timm reads it: which network, and what its images go through."""

from __future__ import annotations

import math
from typing import Any

from pretrain.models import TIMM
from pretrain.models.trunks import is_timm, timm_defaults, width_of
from pretrain.weights.trunk import TrunkFile
from transfer.features.pictures import resize_for

DIGITS = 10**6  # of crop_pct
USUAL_SIZE = 224  # pixels, where a file does not say
FACTS = ("input_size", "pool_size", "fixed_input_size", "first_conv", "classifier")  # of timm's own, which stay


def image_size_of(trunk: TrunkFile) -> int:
    """Side of the images that the trunk was trained on, in pixels; 224 where its file does not say."""
    said = trunk.meta.get("image_size")
    return said if isinstance(said, int) and said > 0 else USUAL_SIZE


def configuration(trunk: TrunkFile) -> dict[str, Any]:
    """What timm builds the network from, without a classifier, with the evaluation transform of this repository.

    timm's crop_pct is the side of the crop as a share of the short side before it, 224 / 256 here. timm divides by it
    and rounds down, so it is rounded down too.
    """
    size, (mean, std) = image_size_of(trunk), trunk.pixels
    if is_timm(trunk.arch):
        defaults = timm_defaults(trunk.arch)
        facts = {name: defaults[name] for name in FACTS if defaults.get(name) is not None}
        size = size if not facts.get("fixed_input_size") else int(facts["input_size"][-1])
    else:
        facts = {"first_conv": "conv1", "classifier": "fc"}
    images = {"input_size": [trunk.channels, size, size], "mean": list(mean), "std": list(std)}
    cut = {
        "interpolation": "bilinear",
        "crop_pct": math.floor(size / resize_for(size) * DIGITS) / DIGITS,
        "crop_mode": "center",
    }
    return {
        "architecture": trunk.arch.removeprefix(TIMM),
        "num_classes": 0,
        "num_features": width_of(trunk.arch),
        "pretrained_cfg": {"tag": "unigrad", "num_classes": 0, **facts, **images, **cut},
    }
