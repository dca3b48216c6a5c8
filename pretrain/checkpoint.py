"""Saving a run whole, finding its newest valid checkpoint, and exporting a trunk that torchvision can load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pretrain.errors import UserError
from pretrain.files import load_torch, save_torch
from pretrain.views import MEAN, STD

FORMAT = "unigrad-checkpoint"
EXPORT_FORMAT = "unigrad-trunk"


def path_of(run_dir: Path, step: int) -> Path:
    """RUN/checkpoints/step_XXXXXXXX.pth, the state after `step` steps."""
    return run_dir / "checkpoints" / f"step_{step:08d}.pth"


def save(run_dir: Path, step: int, parts: Mapping[str, Any], config: Mapping[str, Any], keep: int) -> Path:
    """Write the state dicts of `parts`, atomically, then delete all but the newest `keep` checkpoints."""
    state = {name: part.state_dict() for name, part in parts.items()}
    path = save_torch(path_of(run_dir, step), {"format": FORMAT, "step": step, "config": dict(config), **state})
    for old in sorted(path.parent.glob("step_*.pth"))[:-keep]:
        old.unlink()
    return path


def resume(run_dir: Path, parts: Mapping[str, Any], config: Mapping[str, Any], tell: Callable[[str], None]) -> int:
    """Load the newest checkpoint that can be read into `parts`; the number of steps done, 0 where there is none.

    A damaged checkpoint is told of and passed over for the one before it.

    Raises:
        UserError: none of the checkpoints can be read, or they belong to another network or method.
    """
    found = sorted((run_dir / "checkpoints").glob("step_*.pth"), reverse=True)
    for path in found:
        try:
            state = load_torch(path)
        except UserError as error:
            tell(f"passed over a checkpoint: {error}")
            continue
        _check_same(path, state["config"], config, tell)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        tell(f"resumed from {path}")
        return state["step"]
    if found:
        raise UserError(f"none of the {len(found)} checkpoints under {found[0].parent} can be read: move them away.")
    return 0


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    for section in ("model", "method"):
        for key, value in new[section].items():
            if old[section].get(key) != value:
                raise UserError(
                    f"{path} was trained with {section}.{key}={old[section].get(key)}, but this run asks for {value}: "
                    "use another run_dir, or the configuration that the checkpoint was made with."
                )
    for section in ("data", "views", "optim", "run"):
        changed = [f"{section}.{key}" for key, value in new[section].items() if old[section].get(key) != value]
        if changed:
            tell(f"changed since {path.name} was written: {', '.join(changed)}")


def export_trunk(path: Path, trunk: nn.Module, arch: str, meta: Mapping[str, Any]) -> Path:
    """Write a trunk under torchvision's names, without `fc`, with what is known about its origin.

    The file is {"format", "arch", "state_dict", "meta"}; meta["step"] is 0 for random initialisation.
    """
    meta = {"mean": list(MEAN), "std": list(STD), **meta}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.state_dict().items()}
    return save_torch(path, {"format": EXPORT_FORMAT, "arch": arch, "state_dict": state, "meta": meta})
