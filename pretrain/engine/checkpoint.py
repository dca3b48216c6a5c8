"""Saving a run whole, finding its newest valid checkpoint, and exporting a trunk that torchvision can load."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pretrain.models.pixels import IMAGENET, pixels_of
from pretrain.models.trunks import plain_trunk
from pretrain.runtime.digests import KEY, check_digests, digests_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch, save_torch
from pretrain.runtime.processes.watch import writing_fault
from pretrain.weights import formats

NAME = re.compile(r"step_(\d{8}|[1-9]\d{8,})\.pth")  # what path_of makes
UNFINISHED = re.compile(rf"\.{NAME.pattern}\.\d+\.part")  # its file while pretrain.runtime.files writes it


def path_of(run_dir: Path, step: int) -> Path:
    """RUN/checkpoints/step_XXXXXXXX.pth, the state after `step` steps."""
    return run_dir / "checkpoints" / f"step_{step:08d}.pth"


def step_of(path: Path) -> int:
    """The inverse of `path_of`."""
    return int(path.stem.removeprefix("step_"))


def list_checkpoints(run_dir: Path) -> list[Path]:
    """All checkpoints of a run, the oldest first; not all of them need be readable.

    Only names that `path_of` makes: a copy that somebody named step_best.pth is theirs.
    """
    folder = run_dir / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if NAME.fullmatch(path.name)), key=step_of)


def save(
    run_dir: Path, step: int, parts: Mapping[str, Any], config: Mapping[str, Any], keep: int, **notes: Any
) -> Path:
    """Write one checkpoint, atomically, then delete all but the newest `keep` ones.

    Args:
        run_dir: the run folder; the file goes below its checkpoints/.
        step: steps done.
        parts: by name, what has a state dict: network, form, optimiser.
        config: the run's resolved configuration.
        keep: how many checkpoints stay, this one included.
        notes: by name, other values, stored as they are.

    Raises:
        UserError: the disk is full, or the folder cannot be written; earlier checkpoints are as they were.
    """
    folder = path_of(run_dir, step).parent
    for left in folder.iterdir() if folder.is_dir() else ():
        if UNFINISHED.fullmatch(left.name):  # of a process that was killed while it wrote
            left.unlink()
    try:
        path = write(path_of(run_dir, step), step, parts, config, **notes)
    except (OSError, RuntimeError) as error:
        reason = writing_fault(error)
        kept = list_checkpoints(run_dir)
        newest = f"the newest is {kept[-1]}" if kept else "there is none yet"
        raise UserError(
            f"the checkpoint of step {step} could not be written to {folder} ({reason}); {newest}: free some space or "
            "mend the folder, then start again."
        ) from error
    for old in list_checkpoints(run_dir)[:-keep]:
        old.unlink()
    return path


def write(path: Path, step: int, parts: Mapping[str, Any], config: Mapping[str, Any], **notes: Any) -> Path:
    """Write one checkpoint file: {"format", "step", "config"}, a state dict for each of `parts`, and `notes`.

    Args:
        path: of the file.
        step: steps done.
        parts: by name, what has a state dict.
        config: the run's resolved configuration.
        notes: by name, other values, stored as they are.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    return save_torch(path, {"format": formats.CHECKPOINT, "step": step, "config": dict(config), **state, **notes})


def newest(run_dir: Path, tell: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, and what it holds; None where the run has none.

    A damaged checkpoint is told of and passed over for the one before it.

    Raises:
        UserError: none of the checkpoints can be read.
    """
    paths = list_checkpoints(run_dir)
    for path in reversed(paths):
        try:
            return path, read(path)
        except UserError as error:
            tell(f"passed over a checkpoint: {error}")
    if paths:
        raise UserError(f"none of the {len(paths)} checkpoints under {paths[0].parent} can be read: move them away.")
    return None


def read(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds.

    Raises:
        UserError: it cannot be read, or is none of ours.
    """
    state = load_torch(path)
    if not isinstance(state, dict) or state.get("format") != formats.CHECKPOINT:
        raise UserError(f"{path} is not a checkpoint of this project.")
    return state


def export_trunk(path: Path, trunk: nn.Module, arch: str, meta: Mapping[str, Any]) -> Path:
    """Write a trunk under torchvision's names, without `fc`, with what is known about its origin.

    The file is {"format", "arch", "state_dict", "meta", "digests"}; the last holds the SHA-256 of each tensor.

    Args:
        path: of the file.
        trunk: a ResNet without its classifier.
        arch: torchvision's name of the network, such as "resnet50".
        meta: what JSON can hold about the origin; meta["step"] is 0 for random initialisation.
    """
    mean, std = pixels_of(trunk)
    meta = {"mean": list(mean), "std": list(std), **meta}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.state_dict().items()}
    content = {"format": formats.EXPORT, "arch": arch, "state_dict": state, "meta": meta, KEY: digests_of(state)}
    return save_torch(path, content)


def load_trunk(path: str | Path) -> nn.Module:
    """torchvision's own ResNet in eval mode, with `fc` the identity: (N, 3, H, W) images to (N, width) features.

    Args:
        path: export/trunk.pth of a run, one of its checkpoints (the online branch), or a file that tools/convert.py
            wrote for torchvision.

    Raises:
        UserError: unreadable or another kind of file, or tensors that are not the whole trunk's or not those that were
            written.
    """
    read = load_torch(Path(path))
    content: Mapping[str, Any] = read if isinstance(read, Mapping) else {}
    held: Any
    try:
        if content.get("format") == formats.CHECKPOINT:
            prefix, arch = "online.trunk.", content["config"]["model"]["arch"]
            held = {name[len(prefix) :]: one for name, one in content["model"].items() if name.startswith(prefix)}
            channels = content["config"].get("data", {}).get("channels", 3)
        else:
            arch, held = content.get("arch"), content.get("state_dict")
            channels = len(content.get("meta", {}).get("mean") or IMAGENET.mean)  # earlier exports say no mean
        trunk = plain_trunk(arch, channels)
        trunk.load_state_dict(held, strict=True)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError, UserError) as error:
        raise UserError(
            f"{path} is not a trunk that this repository wrote: make one of it with "
            f"`python tools/convert.py {shlex.quote(str(path))} trunk.pth --to torchvision`."
        ) from error
    if content.get("format") == formats.EXPORT:
        check_digests(Path(path), held, content.get(KEY))
    return trunk.eval()
