"""The trunk of a checkpoint under torchvision's names, with what the file says of how it was made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.engine.checkpoint import FORMAT as CHECKPOINT_FORMAT
from pretrain.models.residual import silent_blocks
from pretrain.runtime.errors import UserError
from transfer.convert.layouts.base import ImageStatistics, Layout
from transfer.convert.read_file import read_content
from transfer.convert.recognise import Recognised, group_of, recognise, tensors_in, value_at
from transfer.convert.trunk import TrunkFile, check_trunk, infer_arch, with_counters

PROGRESS = ("epoch", "step", "global_step", "iteration")  # what training scripts call how far they were
SILENT = "silent_blocks"  # in a trunk's meta: residual blocks that add nothing; absent where every block adds something
ARCH_KEYS = (("arch",), ("config", "model", "arch"), ("provenance", "arch"))  # where a file may name its network


def read_trunk(
    path: str | Path,
    branch: str | None = None,
    arch: str | None = None,
    prefix: str | None = None,
    allow_pickle: str | None = None,
) -> TrunkFile:
    """The trunk of any checkpoint whose layout is in layouts/.

    The layout is recognised by its names, the architecture by names and shapes. A file without any BN counter (files
    older than torch 0.4.1) gets zeros, as torch itself does on loading.

    Args:
        path: a file of torch.save, safetensors, or detectron2's pickle.
        branch: online or target, where a layout holds both; None for the one that the project itself evaluates.
        arch: torchvision's name of the network that is expected, to refuse any other.
        prefix: what the trunk's names begin with, for a file of no known layout.
        allow_pickle: the file's SHA-256, to let Python build objects other than tensors (read_file.py).

    Raises:
        UserError: unreadable file, no known layout or more than one, an architecture other than the expected one, or a
            tensor that is missing, left over, of the wrong shape or not finite.
    """
    content = read_content(path := Path(path), allow_pickle)
    recognised = recognise(path, content, prefix)
    chosen = _choose_branch(path, recognised, branch)
    tensors, mapping = _trunk_tensors(recognised, chosen)
    named = chosen if recognised.layout.target else ""
    inferred = _arch(f"{path} ({recognised.layout.name})", tensors, _claimed_arch(content), arch)
    pixels, pixels_from = _pixel_statistics(content, recognised.layout)
    return TrunkFile(
        state=check_trunk(with_counters(tensors, inferred), inferred, str(path)),
        arch=inferred,
        layout=recognised.layout.name,
        meta=_meta(content, named) | ({SILENT: silent} if (silent := silent_blocks(tensors)) else {}),
        mapping=mapping,
        branch=named,
        called=recognised.branches[chosen].called,
        other=next((one.called for name, one in recognised.branches.items() if name != chosen), ""),
        left_out=_left_out(content, set(mapping.values())),
        pixels=pixels,
        pixels_from=pixels_from,
    )


def _choose_branch(path: Path, recognised: Recognised, branch: str | None) -> str:
    layout = recognised.layout
    chosen = branch or (layout.takes if layout.target else "online")
    if chosen == "target" and not layout.target:
        raise UserError(f"{path} ({layout.name}) holds a single trunk: branch 'target' needs a training checkpoint.")
    if chosen not in recognised.branches:
        held = ", ".join(f"--branch {name} ({one.called})" for name, one in recognised.branches.items())
        raise UserError(f"{path} ({layout.name}) holds no tensor of the {chosen} branch: choose {held}.")
    return chosen


def _trunk_tensors(recognised: Recognised, branch: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The branch's tensors under torchvision's names without its head, and those names to the file's."""
    layout, source = recognised.layout, recognised.branches[branch]
    tensors, mapping = {}, {}
    for name, (key, value) in source.names.items():
        inner = name.removeprefix(source.prefix)
        if name.startswith(source.prefix) and isinstance(value, Tensor) and not re.match(layout.head, inner):
            renamed = layout.naming.to_torchvision(inner)
            tensors[renamed] = value
            mapping[renamed] = ".".join(filter(None, (source.within, key)))
    return tensors, mapping


def _left_out(content: Mapping[str, Any], used: set[str]) -> dict[str, int]:
    """Groups of tensors that are not in `used`, by their full names, to the number of their tensors."""
    others = ((at, name) for at, name, _ in tensors_in(content) if ".".join(filter(None, (at, name))) not in used)
    return dict(Counter(group_of(at, name) for at, name in others))


def _arch(where: str, tensors: Mapping[str, Any], claimed: str | None, expected: str | None) -> str:
    inferred = infer_arch(where, tensors, claimed)
    if expected not in (None, inferred):
        raise UserError(
            f"{where} is a {inferred}, not the {expected} that was asked for: give the checkpoint of that one."
        )
    return inferred


def _claimed_arch(content: Mapping[str, Any]) -> str | None:
    """The architecture that a file says it holds; None where it says nothing."""
    claims = (value_at(content, keys) for keys in ARCH_KEYS)
    return next((claim for claim in claims if isinstance(claim, str)), None)


def _meta(content: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """What a file says of its making: epoch, step, method and the like; and `branch`, where there are two."""
    dictionaries = [value_at(content, ("provenance", "meta")), content.get("meta")]
    meta = {key: value for one in dictionaries if isinstance(one, Mapping) for key, value in _plain(one).items()}
    meta |= {name: content[name] for name in PROGRESS if isinstance(content.get(name), int)}
    if content.get("format") == CHECKPOINT_FORMAT:
        batch_size = value_at(content, ("config", "optim", "batch_size")) or 0
        meta["method"] = value_at(content, ("config", "method", "name"))
        meta["seed"] = value_at(content, ("config", "run", "seed"))
        seen = value_at(content, ("position", "seen"))  # earlier code counted steps only
        meta["images_seen"] = seen if isinstance(seen, int) else meta.get("step", 0) * batch_size
    return {**meta, "branch": branch} if branch else meta


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Without values that a converted file could not hold, or that are as large as a log."""
    return {
        str(key): value
        for key, value in meta.items()
        if isinstance(value, (bool, int, float, list)) or (isinstance(value, str) and len(value) < 200)
    }


def _pixel_statistics(content: Mapping[str, Any], layout: Layout) -> tuple[ImageStatistics, str]:
    """Mean and standard deviation of the training images, and who says so.

    A file of ours says it, also after a conversion; of any other file it is what the layout's project uses.
    """
    for source in (value_at(content, ("provenance", "input")), content.get("meta")):
        mean, std = (value_at(source, (name,)) for name in ("mean", "std"))
        if all(isinstance(one, list) and len(one) == 3 for one in (mean, std)):
            return ((mean[0], mean[1], mean[2]), (std[0], std[1], std[2])), "the file says"
    return layout.pixels, "is usual (the file does not say)" if layout.shared else "its project trains with"
