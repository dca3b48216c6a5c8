"""Saving a run whole, finding its newest valid checkpoint, and exporting a trunk that torchvision can load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from pretrain.errors import UserError
from pretrain.files import load_torch, save_torch
from pretrain.views import MEAN, STD

FORMAT = "unigrad-checkpoint"
EXPORT_FORMAT = "unigrad-trunk"


def path_of(run_dir: Path, step: int) -> Path:
    """RUN/checkpoints/step_XXXXXXXX.pth, the state after `step` steps."""
    return run_dir / "checkpoints" / f"step_{step:08d}.pth"


def step_of(path: Path) -> int:
    """The inverse of `path_of`."""
    return int(path.stem.removeprefix("step_"))


def found(run_dir: Path) -> list[Path]:
    """All checkpoints of a run, the oldest first; not all of them need be readable."""
    return sorted((run_dir / "checkpoints").glob("step_*.pth"))


def save(run_dir: Path, step: int, parts: Mapping[str, Any], config: Mapping[str, Any], keep: int) -> Path:
    """Write the state dicts of `parts`, atomically, then delete all but the newest `keep` checkpoints."""
    path = write(path_of(run_dir, step), step, parts, config)
    for old in found(run_dir)[:-keep]:
        old.unlink()
    return path


def write(path: Path, step: int, parts: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    """One checkpoint file: {"format", "step", "config"} and the state dict of each of `parts`."""
    state = {name: part.state_dict() for name, part in parts.items()}
    return save_torch(path, {"format": FORMAT, "step": step, "config": dict(config), **state})


def resume(run_dir: Path, parts: Mapping[str, Any], config: Mapping[str, Any], tell: Callable[[str], None]) -> int:
    """Load the newest checkpoint that can be read into `parts`; the number of steps done, 0 where there is none.

    A damaged checkpoint is told of and passed over for the one before it.

    Raises:
        UserError: none of the checkpoints can be read, or they belong to another network or method.
    """
    paths = found(run_dir)
    for path in reversed(paths):
        try:
            state = load_torch(path)
        except UserError as error:
            tell(f"passed over a checkpoint: {error}")
            continue
        _check_same(path, state["config"], config, tell)
        if lacking := [name for name in parts if name not in state]:
            raise UserError(
                f"{path} lacks {', '.join(lacking)}: another version wrote it; use that, or another run_dir."
            )
        for name, part in parts.items():
            part.load_state_dict(state[name])
        tell(f"resumed from {path}")
        return state["step"]
    if paths:
        raise UserError(f"none of the {len(paths)} checkpoints under {paths[0].parent} can be read: move them away.")
    return 0


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    for section in ("model", "method"):
        for key, value in new[section].items():
            if old[section].get(key) != value:
                raise UserError(
                    f"{path} was trained with {section}.{key}={old[section].get(key)}, but this run asks for {value}: "
                    "use another run_dir, or the configuration that the checkpoint was made with."
                )
    for section in ("data", "views", "mixing", "optim", "run"):
        changed = [f"{section}.{key}" for key, value in new[section].items() if old.get(section, {}).get(key) != value]
        if changed:
            tell(f"changed since {path.name} was written: {', '.join(changed)}")


def export_trunk(path: Path, trunk: nn.Module, arch: str, meta: Mapping[str, Any]) -> Path:
    """Write a trunk under torchvision's names, without `fc`, with what is known about its origin.

    The file is {"format", "arch", "state_dict", "meta"}; meta["step"] is 0 for random initialisation.
    """
    meta = {"mean": list(MEAN), "std": list(STD), **meta}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.state_dict().items()}
    return save_torch(path, {"format": EXPORT_FORMAT, "arch": arch, "state_dict": state, "meta": meta})


def load_trunk(path: str | Path) -> nn.Module:
    """torchvision's own ResNet in eval mode, with `fc` the identity: (N, 3, H, W) images to (N, width) features.

    Args:
        path: export/trunk.pth of a run, one of its checkpoints (the online branch), or a file that tools/convert.py
            wrote for torchvision.

    Raises:
        UserError: unreadable or another kind of file, or tensors that are not the whole trunk's.
    """
    content = load_torch(Path(path))
    content = content if isinstance(content, Mapping) else {}
    if content.get("format") == FORMAT:
        prefix, arch = "online.trunk.", content["config"]["model"]["arch"]
        held = {name[len(prefix) :]: one for name, one in content["model"].items() if name.startswith(prefix)}
    else:
        arch, held = content.get("arch"), content.get("state_dict")
    try:
        trunk = torchvision.models.get_model(arch, weights=None)
        trunk.fc = nn.Identity()
        trunk.load_state_dict(held, strict=True)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a trunk that this repository wrote: make one of it with "
            f"`python tools/convert.py {path} trunk.pth --to torchvision`."
        ) from error
    return trunk.eval()
