"""Which keys a detection YAML may hold, how YAML and `A.B=v` overrides fill them, and what they say in words."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.projects.deeplab import add_deeplab_config

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import options
from pretrain.runtime.printable import shortened
from transfer.detection.config.options import DetectionKeys
from transfer.detection.config.ranges import check_ranges
from transfer.detection.config.validate import check_configuration
from transfer.detection.data.formats import formats_of
from transfer.detection.evaluation.evaluators import all_evaluators
from transfer.detection.tasks import task_of

BASE = "_BASE_"  # the key that names the files below one
PATHS = ("MODEL.WEIGHTS", "DATASETS.ROOT")  # texts whose `~` is the home folder


def defaults() -> CfgNode:
    """detectron2's keys, and those of `options.DetectionKeys`."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    cfg.MODEL.RESNETS.STEM_TYPE = "basic"  # torchvision's; DeepLab's own stem has three convolutions
    for key in options(DetectionKeys):
        _assign(cfg, key.name, key.default)
    return cfg


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
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
    for key in PATHS:
        _assign(cfg, key, os.path.expanduser(value_at(cfg, key)))
    check_ranges(cfg)
    check_configuration(cfg)
    return cfg


def _read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a YAML over those of the files that its _BASE_ names, relative to it.

    Args: above: the files whose _BASE_ led here.
    """
    if not path.is_file():
        raise UserError(
            f"{above[-1]}: the file {path} that _BASE_ names does not exist."
            if above
            else f"configuration {path} is not a file: give the path of a YAML below configs/detection/."
        )
    if path.resolve() in above:
        raise UserError(f"{path} names itself by way of _BASE_: let it name another file.")
    try:
        tree = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is not a valid YAML configuration: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} is not a valid YAML configuration: it has to hold sections of options.")
    named, merged = tree.pop(BASE, []), dict[str, Any]()
    for base in named if isinstance(named, list) else [named]:
        if not isinstance(base, str) or not base:
            raise UserError(f"{path}: _BASE_ is {shortened(base)}: give the path of a YAML, relative to this one.")
        lower = _read_yaml(path.parent / os.path.expanduser(base), (*above, path.resolve()))
        merged = _merged(merged, lower, path)
    return _merged(merged, tree, path)


def _merged(below: dict[str, Any], above: dict[str, Any], where: Path) -> dict[str, Any]:
    """Both trees; where they differ, the upper one's value."""
    merged = dict(below)
    for key, value in above.items():
        both = key in below and (isinstance(value, dict), isinstance(below[key], dict))
        if both and both[0] != both[1]:
            raise UserError(
                f"{where}: '{shortened(key)}' is a section here or in its _BASE_, and a value in the other."
            )
        merged[key] = _merged(below[key], value, where) if both and all(both) else value
    return merged


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
    if isinstance(valid[key], str) and isinstance(value, str):  # yacs would read 2024_05 as a number
        return _assign(cfg, key, value)
    if isinstance(valid[key], float) and not isinstance(value, float):
        value = _as_float(value)
    try:
        cfg.merge_from_list([key, value])
    except ValueError as error:
        wanted = type(valid[key]).__name__
        raise UserError(f"{where}: option '{key}' has the wrong type: {value!r} is no {wanted}.") from error


def _assign(cfg: CfgNode, key: str, value: Any) -> None:
    """Set a value as it is: a text to the letter."""
    section, _, name = key.rpartition(".")
    for part in filter(None, section.split(".")):
        cfg = cfg[part]
    cfg[name] = value


def _as_float(value: Any) -> Any:
    """1 and "1e-3" as the numbers they are (yacs takes neither for a float); anything else as it came."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def value_at(cfg: CfgNode, key: str) -> Any:
    """The value at a dotted key."""
    return _leaves(cfg)[key]


def protocol_name(cfg: CfgNode) -> str:
    """The recipe's name and the settings that decide the number, read from `cfg` so that an override shows."""
    solver, sizes, task = cfg.SOLVER, cfg.INPUT.MIN_SIZE_TRAIN, task_of(cfg)
    settings = [
        cfg.MODEL.BACKBONE.ARCH or f"ResNet-{cfg.MODEL.RESNETS.DEPTH}",
        f"{solver.MAX_ITER} iterations of {solver.IMS_PER_BATCH} images",
        f"lr {solver.BASE_LR:g}",
        f"short side {min(sizes)}-{max(sizes)} (test {cfg.INPUT.MIN_SIZE_TEST})",
        *task.settings(cfg),
    ]
    if cfg.MODEL.BACKBONE.FREEZE_AT:
        settings.append(f"frozen up to stage {cfg.MODEL.BACKBONE.FREEZE_AT}")
    evaluator = all_evaluators()[cfg.DATASETS.EVALUATOR]
    special = formats_of(task.name)[cfg.DATASETS.LAYOUT].protocol
    settings.append(special.get(evaluator.name, evaluator.protocol))
    return f"{cfg.PROTOCOL}: {', '.join(settings)}"
