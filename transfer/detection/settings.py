"""Which keys a detection YAML may hold, how YAML and `A.B=v` overrides fill them, and what makes no sense together."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from pretrain.errors import UserError
from pretrain.views import MEAN, STD

RANDOM = "random"  # the value of MODEL.WEIGHTS that asks for a random trunk; an empty one is a mistake, not a wish
BASIC_BLOCKS = (18, 34)  # depths whose residual blocks have two 3x3 convolutions and no expansion
DEPTHS = (*BASIC_BLOCKS, 50, 101)
NORM_KEYS = ("MODEL.RESNETS.NORM", "MODEL.FPN.NORM", "MODEL.ROI_BOX_HEAD.NORM", "MODEL.ROI_MASK_HEAD.NORM")


def defaults() -> CfgNode:
    """detectron2's keys and ours.

    PROTOCOL: the recipe's name, which opens the protocol of every result. DATASETS.NAME: the data set's name.
    DATASETS.LAYOUT: voc|coco. DATASETS.ROOT: folder below which the entries of TRAIN and TEST lie ("" means
    $DETECTRON2_DATASETS). DATASETS.CLASSES: names in the order of their indices (COCO layout: empty takes those of
    the JSON). DATASETS.EVALUATOR: coco (AP over IoU .5:.95 by pycocotools) or voc (detectron2's Pascal VOC evaluator).
    """
    cfg = get_cfg()
    cfg.PROTOCOL = ""
    cfg.DATASETS.NAME = ""
    cfg.DATASETS.LAYOUT = "coco"
    cfg.DATASETS.ROOT = ""
    cfg.DATASETS.CLASSES = ()
    cfg.DATASETS.EVALUATOR = "coco"
    return cfg


def load(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Defaults, then the YAML at `path` with the files its `_BASE_` names, then `A.B=v` overrides; checked.

    Raises:
        UserError: unreadable file, unknown key (with the nearest valid one), wrong type, or a value that cannot work.
    """
    cfg = defaults()
    for key, value in _leaves(_read_yaml(Path(path))).items():
        _set(cfg, key, value, str(path))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(f"override '{override}' is not of the form A.B=value.")
        _set(cfg, key, value, f"override '{override}'")
    check(cfg)
    return cfg


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"configuration {path} is not a file: give the path of a YAML below configs/detection/.")
    try:
        return CfgNode.load_yaml_with_base(str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file {error.filename} that _BASE_ names does not exist.") from error
    except (yaml.YAMLError, AssertionError, TypeError) as error:
        raise UserError(f"{path} is not a valid YAML configuration: {' '.join(str(error).split())}") from error


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    valid = _leaves(cfg)
    if key not in valid:
        last = key.rpartition(".")[2]
        same_last = [name for name in valid if name.rpartition(".")[2] == last]
        nearest = difflib.get_close_matches(key, same_last or valid, 1, 0)[0]
        raise UserError(f"{where}: there is no option '{key}'; did you mean '{nearest}'?")
    if isinstance(valid[key], float) and not isinstance(value, float):
        value = _as_float(value)
    try:
        cfg.merge_from_list([key, value])
    except ValueError as error:
        wanted = type(valid[key]).__name__
        raise UserError(f"{where}: option '{key}' has the wrong type: {value!r} is no {wanted}.") from error


def _as_float(value: Any) -> Any:
    """1 and "1e-3" as the numbers they are (yacs takes neither for a float); anything else as it came."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def check(cfg: CfgNode) -> None:
    """Refuse what would fail late, or train silently on wrong input.

    Raises:
        UserError: one sentence on the first such setting.
    """
    resnets, data, dimensions = cfg.MODEL.RESNETS, cfg.DATASETS, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS
    wrong = {
        f"MODEL.RESNETS.DEPTH={resnets.DEPTH} is not one of {DEPTHS}.": resnets.DEPTH not in DEPTHS,
        f"MODEL.RESNETS.RES2_OUT_CHANNELS={dimensions} does not fit a ResNet-{resnets.DEPTH}: set it to 64.": (
            resnets.DEPTH in BASIC_BLOCKS and dimensions != 64
        ),
        "MODEL.WEIGHTS is empty: give the file of a pretrained trunk, or 'random' for a randomly initialised one.": (
            not cfg.MODEL.WEIGHTS
        ),
        f"SEED={cfg.SEED} is negative, so the run could not be repeated: set SEED to 0 or more.": cfg.SEED < 0,
        f"DATASETS.LAYOUT='{data.LAYOUT}' is neither voc nor coco.": data.LAYOUT not in ("voc", "coco"),
        f"DATASETS.EVALUATOR='{data.EVALUATOR}' is neither coco nor voc.": data.EVALUATOR not in ("coco", "voc"),
        "DATASETS.EVALUATOR='voc' needs DATASETS.LAYOUT='voc'.": (data.EVALUATOR == "voc" and data.LAYOUT == "coco"),
        "MODEL.MASK_ON needs masks, which the VOC layout does not hold: set DATASETS.LAYOUT=coco.": (
            cfg.MODEL.MASK_ON and data.LAYOUT == "voc"
        ),
        "DATASETS.TRAIN must name at least one split and DATASETS.TEST exactly one.": (
            not data.TRAIN or len(data.TEST) != 1
        ),
        "DATASETS.NAME and PROTOCOL must not be empty: they tell results apart.": not (data.NAME and cfg.PROTOCOL),
    }
    for sentence, holds in wrong.items():
        if holds:
            raise UserError(sentence)
    _check_input(cfg)


def _check_input(cfg: CfgNode) -> None:
    """The input that self-supervised trunks saw; with another one detectron2 trains on without a word."""
    wanted = {"PIXEL_MEAN": 255 * np.array(MEAN), "PIXEL_STD": 255 * np.array(STD)}
    for key, value in wanted.items():
        if not np.allclose(cfg.MODEL[key], value, atol=0.01):
            raise UserError(
                f"MODEL.{key}={list(cfg.MODEL[key])} is not what the trunk was trained on: set it to "
                f"{value.round(3).tolist()}."
            )
    if cfg.INPUT.FORMAT != "RGB":
        raise UserError(f"INPUT.FORMAT='{cfg.INPUT.FORMAT}' is not what the trunk was trained on: set it to RGB.")
    if cfg.MODEL.RESNETS.STRIDE_IN_1X1:
        raise UserError(
            "MODEL.RESNETS.STRIDE_IN_1X1 must be False: torchvision's trunks stride in the 3x3 convolution."
        )


def fit_to_machine(cfg: CfgNode, processes: int) -> list[str]:
    """Change device, norms and precision of `cfg` in place to what this machine can run; returns one note a change.

    Raises:
        UserError: the batch cannot be shared equally by `processes`.
    """
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH} cannot be shared equally by {processes} processes: "
            "choose a multiple of their number."
        )
    notes = []
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        notes.append("no CUDA device here: training on the CPU.")
    if cfg.MODEL.DEVICE != "cpu":
        return notes
    # torch's SyncBatchNorm refuses CPU tensors; detectron2's own takes them, and in one process BN is the same
    norm = "BN" if processes == 1 else "naiveSyncBN"
    replaced = [key for key in NORM_KEYS if _leaves(cfg)[key] == "SyncBN"]
    if replaced:
        cfg.merge_from_list([item for key in replaced for item in (key, norm)])
        notes.append(f"SyncBN runs on CUDA only: {norm} instead, over {processes} process{'es' * (processes > 1)}.")
    if cfg.SOLVER.AMP.ENABLED:
        cfg.SOLVER.AMP.ENABLED = False
        notes.append("SOLVER.AMP is for CUDA only: training in fp32.")
    return notes


def architecture(cfg: CfgNode) -> str:
    """Torchvision's name of the trunk, such as resnet50."""
    return f"resnet{cfg.MODEL.RESNETS.DEPTH}"


def protocol(cfg: CfgNode) -> str:
    """The recipe's name and the settings that decide the number, read from `cfg` so that an override shows."""
    solver, sizes = cfg.SOLVER, cfg.INPUT.MIN_SIZE_TRAIN
    metric = {"voc voc": "VOC07 AP", "voc coco": "COCO-style AP on VOC layout", "coco coco": "COCO AP"}
    settings = [
        f"ResNet-{cfg.MODEL.RESNETS.DEPTH}",
        f"{solver.MAX_ITER} iterations of {solver.IMS_PER_BATCH} images",
        f"lr {solver.BASE_LR:g}",
        f"short side {min(sizes)}-{max(sizes)} (test {cfg.INPUT.MIN_SIZE_TEST})",
        f"{cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE} RoIs an image",
        f"{cfg.MODEL.RPN.POST_NMS_TOPK_TEST} proposals at test",
        metric[f"{cfg.DATASETS.LAYOUT} {cfg.DATASETS.EVALUATOR}"],
    ]
    return f"{cfg.PROTOCOL}: {', '.join(settings)}"
