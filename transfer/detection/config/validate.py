"""What makes no sense together in a configuration, and what detectron2 would train on with a wrong result silently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from pretrain.models import TIMM
from pretrain.models.pixels import IMAGENET
from pretrain.runtime.errors import UserError
from transfer.detection.data.formats import formats_of
from transfer.detection.evaluation.evaluators import evaluators_for
from transfer.detection.tasks import architectures, task_of
from transfer.options import STAGES

RANDOM = "random"  # the value of MODEL.WEIGHTS that asks for a random trunk; an empty one is a mistake, not a wish
BASIC_BLOCKS = (18, 34)  # depths whose residual blocks have two 3x3 convolutions and no expansion
DEPTHS = (*BASIC_BLOCKS, 50, 101, 152)
TOLERANCE = 0.5  # of pixel statistics, in grey levels: SwAV's own 0.228 in the place of 0.229 is no other input
BATCH_NORMS = ("BN", "SyncBN", "naiveSyncBN", "FrozenBN")  # norms with a place for a trunk's running statistics
# detectron2's builders of an FPN over its own ResNets, to those over a network of timm (modeling/timm_trunk.py)
TIMM_FPN = {
    "build_resnet_fpn_backbone": "build_timm_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone": "build_retinanet_timm_fpn_backbone",
}
HEADS = {"segm": ("MODEL.MASK_ON", "masks"), "keypoints": ("MODEL.KEYPOINT_ON", "keypoints")}  # key, and what it needs
# what a trunk saw whose file says nothing of it: the input of torchvision, and of every self-supervised method here
ORIGIN = {
    "format": "RGB",
    "mean": [255 * value for value in IMAGENET.mean],
    "std": [255 * value for value in IMAGENET.std],
    "stride_in_1x1": False,
}


def architecture(cfg: CfgNode) -> str:
    """The trunk's name: timm/NAME, or torchvision's, such as resnet50, wide_resnet50_2 or resnext101_32x8d."""
    if cfg.MODEL.BACKBONE.ARCH:
        return str(cfg.MODEL.BACKBONE.ARCH)
    depth, groups, width = (cfg.MODEL.RESNETS[key] for key in ("DEPTH", "NUM_GROUPS", "WIDTH_PER_GROUP"))
    if groups > 1:
        return f"resnext{depth}_{groups}x{width}d"
    return f"resnet{depth}" if width == 64 else f"wide_resnet{depth}_{width // 64}"


def keys_of(arch: str) -> dict[str, int | str]:
    """The keys that describe a trunk of that name; plain ResNets need but two of MODEL.RESNETS."""
    if arch.startswith(TIMM):
        return {"MODEL.BACKBONE.ARCH": arch}
    depth, *grouped = map(int, re.findall(r"\d+", arch))
    keys: dict[str, int | str] = {
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64 if depth in BASIC_BLOCKS else 256,
    }
    if not grouped:
        return keys
    groups, width = grouped if len(grouped) == 2 else (1, 64 * grouped[0])
    return {**keys, "MODEL.RESNETS.NUM_GROUPS": groups, "MODEL.RESNETS.WIDTH_PER_GROUP": width}


def check_configuration(cfg: CfgNode) -> None:
    """Refuse what would fail late, or train silently on something else than was meant.

    Raises:
        UserError: one sentence on the first such setting.
    """
    of_trunk = _timm_faults if cfg.MODEL.BACKBONE.ARCH else _resnet_faults
    for faults_of in (of_trunk, _weights_faults, _run_faults, _data_faults):
        for sentence, holds in faults_of(cfg).items():
            if holds:
                raise UserError(sentence)
    _check_format(cfg)


def _timm_faults(cfg: CfgNode) -> dict[str, bool]:
    arch, backbone, norm = cfg.MODEL.BACKBONE.ARCH, cfg.MODEL.BACKBONE, cfg.MODEL.RESNETS.NORM
    norms = [name for name in BATCH_NORMS if name != "naiveSyncBN"]
    stages = list(cfg.MODEL.FPN.IN_FEATURES)
    return {
        f"MODEL.BACKBONE.ARCH='{arch}' is not timm/NAME: leave it unset for a ResNet of torchvision, and describe that "
        "in MODEL.RESNETS.": not arch.startswith(TIMM),
        f"MODEL.BACKBONE.ARCH={arch} goes below an FPN, and MODEL.BACKBONE.NAME='{backbone.NAME}' is none: choose a "
        "configuration such as those in configs/detection/fpn/.": backbone.NAME not in TIMM_FPN,
        f"MODEL.FPN.IN_FEATURES={stages} must list stages of {', '.join(STAGES)}, in this order.": (
            not stages or stages != [name for name in STAGES if name in stages]
        ),
        f"MODEL.RESNETS.NORM='{norm}' is no norm of a network of timm: set it to one of {', '.join(norms)}.": (
            norm not in norms
        ),
        f"MODEL.BACKBONE.FREEZE_AT={backbone.FREEZE_AT} counts the stages of a ResNet: set it to 0 for {arch}.": (
            backbone.FREEZE_AT != 0
        ),
    }


def _resnet_faults(cfg: CfgNode) -> dict[str, bool]:
    model, resnets = cfg.MODEL, cfg.MODEL.RESNETS
    channels = 64 if resnets.DEPTH in BASIC_BLOCKS else 256
    return {
        f"MODEL.RESNETS.DEPTH={resnets.DEPTH} is not one of {DEPTHS}.": resnets.DEPTH not in DEPTHS,
        f"MODEL.RESNETS.RES2_OUT_CHANNELS={resnets.RES2_OUT_CHANNELS} does not fit a ResNet-{resnets.DEPTH}: set it "
        f"to {channels}.": channels != resnets.RES2_OUT_CHANNELS,
        f"MODEL.RESNETS.NORM='{resnets.NORM}' has no place for the running statistics of a trunk: set it to one of "
        f"{', '.join(BATCH_NORMS)}.": resnets.NORM not in BATCH_NORMS,
        f"MODEL.RESNETS.STEM_TYPE='{resnets.STEM_TYPE}' is not torchvision's stem: set it to basic.": (
            resnets.STEM_TYPE != "basic"
        ),
        f"MODEL.BACKBONE.NAME='{model.BACKBONE.NAME}' has bottleneck blocks only: set MODEL.RESNETS.DEPTH to 50 or "
        "101.": "deeplab" in model.BACKBONE.NAME and resnets.DEPTH in BASIC_BLOCKS,
    }


def _weights_faults(cfg: CfgNode) -> dict[str, bool]:
    model, random = cfg.MODEL, cfg.MODEL.WEIGHTS == RANDOM
    return {
        "MODEL.WEIGHTS is empty: give a trunk's file, or 'random' for a randomly initialised one.": not model.WEIGHTS,
        "MODEL.WEIGHTS=random diverges under MODEL.RESNETS.NORM='FrozenBN', whose statistics never follow: set the "
        "norm to SyncBN or BN.": random and model.RESNETS.NORM == "FrozenBN",
        f"MODEL.WEIGHTS=random with MODEL.BACKBONE.FREEZE_AT={model.BACKBONE.FREEZE_AT} would keep random layers: set "
        "it to 0.": random and model.BACKBONE.FREEZE_AT > 0,
    }


def _run_faults(cfg: CfgNode) -> dict[str, bool]:
    return {
        f"MODEL.META_ARCHITECTURE='{cfg.MODEL.META_ARCHITECTURE}' is not one of {', '.join(architectures())}.": (
            cfg.MODEL.META_ARCHITECTURE not in architectures()
        ),
    }


def _data_faults(cfg: CfgNode) -> dict[str, bool]:
    data, layouts = cfg.DATASETS, formats_of(task_of(cfg).name)
    return {
        f"DATASETS.LAYOUT='{data.LAYOUT}' is not one of {', '.join(layouts)}, the formats of a "
        f"{cfg.MODEL.META_ARCHITECTURE}'s data.": data.LAYOUT not in layouts,
        "DATASETS.TRAIN must name at least one split and DATASETS.TEST exactly one.": (
            not data.TRAIN or len(data.TEST) != 1
        ),
        f"DATASETS.CLASSES={tuple(data.CLASSES)} must list names, each of them once.": (
            len(set(map(str, data.CLASSES))) < len(data.CLASSES)
            or not all(isinstance(name, str) and name.strip() for name in data.CLASSES)
        ),
        "DATASETS.NAME and PROTOCOL must not be empty: they tell results apart.": not (data.NAME and cfg.PROTOCOL),
    }


def _check_format(cfg: CfgNode) -> None:
    """Hold classes, evaluator and heads against what the format of the data says of itself."""
    data, task = cfg.DATASETS, task_of(cfg)
    layouts = formats_of(task.name)
    chosen = layouts[data.LAYOUT]
    if not (data.CLASSES or chosen.names_classes):
        raise UserError(
            f"DATASETS.CLASSES is empty: data in the format {chosen.name} do not name their classes, so list them in "
            "the order of their indices."
        )
    evaluators = evaluators_for(chosen)
    if data.EVALUATOR not in evaluators:
        raise UserError(
            f"DATASETS.EVALUATOR='{data.EVALUATOR}' does not fit DATASETS.LAYOUT={data.LAYOUT}: set it to "
            f"{' or '.join(evaluators)}."
        )
    for kind, (key, needed) in HEADS.items():
        if kind in task.kinds(cfg) and needed not in chosen.holds:
            able = [one.name for one in layouts.values() if needed in one.holds]
            raise UserError(
                f"{key} needs {needed}, which the format {chosen.name} does not hold: set DATASETS.LAYOUT to "
                f"{' or '.join(able)}."
            )


def check_input(cfg: CfgNode, stated: Mapping[str, Any] | None = None) -> None:
    """Hold channel order, pixel statistics and stride against the trunk's; detectron2 trains on with any.

    Args:
        stated: what the trunk's file says of its own input, with keys of ORIGIN (mean and std over 0..255); what it
            does not say is taken from ORIGIN.

    Raises:
        UserError: one of the four differs.
    """
    origin = {**ORIGIN, **(stated or {})}
    for key, wanted in (("PIXEL_MEAN", origin["mean"]), ("PIXEL_STD", origin["std"])):
        if not np.allclose(cfg.MODEL[key], wanted, rtol=0, atol=TOLERANCE):
            raise UserError(
                f"MODEL.{key}={list(cfg.MODEL[key])} is not what the trunk was trained on: set it to "
                f"{np.round(wanted, 3).tolist()}."
            )
    if origin["format"] != cfg.INPUT.FORMAT:
        raise UserError(
            f"INPUT.FORMAT='{cfg.INPUT.FORMAT}' is not what the trunk was trained on: set it to {origin['format']}."
        )
    if origin["stride_in_1x1"] != cfg.MODEL.RESNETS.STRIDE_IN_1X1:
        place = "1x1" if origin["stride_in_1x1"] else "3x3"
        raise UserError(
            f"MODEL.RESNETS.STRIDE_IN_1X1 must be {origin['stride_in_1x1']}: this trunk strides in the {place} "
            "convolution."
        )
