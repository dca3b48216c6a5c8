"""The trunk of a checkpoint under torchvision's names, with what the file says of how it was made."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.models.residual import silent_blocks
from pretrain.models.trunks import is_timm
from pretrain.runtime.digests import KEY, check_digests
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from pretrain.weights import formats, of_timm
from pretrain.weights.beside import neighbours
from pretrain.weights.layouts.base import ImageStatistics, Layout
from pretrain.weights.pickles.objects import OddTensor
from pretrain.weights.read_file import read_content
from pretrain.weights.recognise import Recognised, group_of, recognise, tensors_in, text_of, value_at
from pretrain.weights.stated import check_images, check_stated, contradicted
from pretrain.weights.trunk import TrunkFile, check_numbers, check_trunk, infer_arch, tensors_sha256, with_counters

PROGRESS = ("epoch", "step", "global_step", "iteration")  # what training scripts call how far they were
SILENT = "silent_blocks"  # in a trunk's meta: residual blocks that add nothing; absent where every block adds something
# names of what lies between the pixels and the pooling, in ResNets of any library
TRUNK_PART = re.compile(
    r"(conv|bn|norm|gn|layer|stem|stage|block|maxpool|pool|act|relu|se|attn|patch|embed|down|blur|aa)"
)


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
        arch: torchvision's name of the network that is expected, to refuse any other; timm/NAME reads the names of that
            network of timm, which cannot be told by names and shapes.
        prefix: what the trunk's names begin with, for a file of no known layout.
        allow_pickle: the file's SHA-256, to let Python build objects other than tensors (read_file.py).

    Raises:
        UserError: unreadable file, no known layout or more than one, an architecture other than the expected one or
            than torchvision's, another input than RGB, or a tensor that is missing, left over, of the wrong shape, not
            finite, of no plain numbers, or not the one whose SHA-256 the file carries.
    """
    content = read_content(path := Path(path), allow_pickle)
    if (named := of_timm.name_in(content)) is not None:
        _check_arch(str(path), {}, named, arch)
        held = of_timm.read_own(path, content, named, branch)
    elif arch is not None and is_timm(arch):
        held = of_timm.read_foreign(path, content, arch, branch)
    else:
        return _read_layout(path, content, recognise(path, content, prefix), branch, arch)
    _check_digest(path, content, held.state)
    return dataclasses.replace(held, meta=_meta(content, held.branch))


def _read_layout(
    path: Path, content: Mapping[str, Any], recognised: Recognised, branch: str | None, arch: str | None
) -> TrunkFile:
    """The trunk of a file of a known layout, under torchvision's names; `branch` and `arch` as of `read_trunk`."""
    layout, chosen = recognised.layout, _choose_branch(path, recognised, branch)
    where, told = f"{path} ({layout.name})", {**content, **neighbours(path)}
    stated, said = check_stated(where, told, arch), _images(where, told, layout)
    tensors, mapping, own_names = _trunk_tensors(recognised, chosen)
    check_numbers(tensors, where)
    inferred = infer_arch(where, tensors)
    _check_arch(where, told, inferred, arch)
    pixels = said or layout.pixels
    state = check_trunk(with_counters(tensors, inferred), inferred, str(path), len(pixels[0]))
    _check_digest(path, content, state)
    named = chosen if layout.target else ""
    return TrunkFile(
        state=state,
        arch=inferred,
        layout=layout.name,
        meta=_meta(content, named) | ({SILENT: silent} if (silent := silent_blocks(state)) else {}),
        mapping=mapping,
        branch=named,
        called=recognised.branches[chosen].called,
        other=next((one.called for name, one in recognised.branches.items() if name != chosen), ""),
        left_out=_left_out(content, set(mapping.values())),
        pixels=pixels,
        pixels_from=_who_says(said, layout),
        own_names=own_names,
        peer=layout.peer or layout.naming.peer,
        stated=stated,
    )


def _images(where: str, content: Mapping[str, Any], layout: Layout) -> ImageStatistics | None:
    """How the file says that its images were scaled; None where it may be silent, and is."""
    said = check_images(where, content)
    if layout.says_input and said is None:
        raise UserError(
            f"{where} does not say how its network strides and how its images were scaled and ordered: if it is a "
            "ResNet of RGB images with the stride in the 3x3 convolution, say so with --prefix backbone."
        )
    return said


def _check_arch(where: str, content: Mapping[str, Any], inferred: str, expected: str | None) -> None:
    """Refuse another network than the file states, or than the user expects."""
    if claimed := contradicted(content, inferred):
        raise UserError(
            f"{where} says it is a {shortened(claimed)}, but its tensors are those of a {inferred}: it was put "
            "together wrongly; export it again."
        )
    if expected not in (None, inferred):
        raise UserError(
            f"{where} is a {inferred}, not the {expected} that was asked for: give the checkpoint of that one."
        )


def _check_digest(path: Path, content: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Compare the tensors with the SHA-256s that our exports and converted files carry; older ones have one in all."""
    own = content.get("format") == formats.EXPORT
    told = content.get(KEY) if own else value_at(content, ("provenance", KEY))
    if told is not None:
        return check_digests(path, state, told)
    told = value_at(content, ("provenance", "tensors_sha256"))
    if isinstance(told, str) and told != tensors_sha256(state):
        raise UserError(
            f"{path} holds other tensors than were written into it: their SHA-256 is not the one that it carries; it "
            "is damaged or was changed: copy or convert it again."
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


def _trunk_tensors(recognised: Recognised, branch: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The branch's tensors under torchvision's names without its head; those names to the file's, and to its network's.

    A library's file may have a head of any name: tensors beside the trunk that are at most matrices.
    """
    layout, source = recognised.layout, recognised.branches[branch]
    tensors, mapping, own_names = {}, {}, {}
    for name, (key, value) in source.names.items():
        inner = name.removeprefix(source.prefix)
        if not (name.startswith(source.prefix) and isinstance(value, (Tensor, OddTensor))):
            continue
        renamed = layout.naming.to_torchvision(inner)
        if not re.match(layout.head, inner):
            tensors[renamed] = value
            mapping[renamed] = ".".join(filter(None, (source.within, key)))
            own_names[renamed] = inner
    for name in _heads(tensors) if layout.shared else ():
        del tensors[name], mapping[name], own_names[name]
    return tensors, mapping, own_names


def _heads(tensors: Mapping[str, Any]) -> list[str]:
    """Names of tensors beside the trunk whose part of the network is made of matrices and vectors alone."""
    parts: dict[str, list[str]] = {}
    for name in tensors:
        if not TRUNK_PART.match(name):
            parts.setdefault(name.partition(".")[0], []).append(name)
    flat = [names for names in parts.values() if all(getattr(tensors[name], "ndim", 3) <= 2 for name in names)]
    return [name for names in flat for name in names]


def _left_out(content: Mapping[str, Any], used: set[str]) -> dict[str, int]:
    """Groups of tensors that are not in `used`, by their full names, to the number of their tensors."""
    others = ((at, name) for at, name, _ in tensors_in(content) if ".".join(filter(None, (at, name))) not in used)
    return dict(Counter(group_of(at, name) for at, name in others))


def _meta(content: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """What a file says of its making: epoch, step, method and the like; and `branch`, where there are two."""
    dictionaries = [value_at(content, ("provenance", "meta")), content.get("meta")]
    meta = {key: value for one in dictionaries if isinstance(one, Mapping) for key, value in _plain(one).items()}
    meta |= {name: content[name] for name in PROGRESS if _is_count(content.get(name))}
    if content.get("format") == formats.CHECKPOINT:
        batch_size = value_at(content, ("config", "optim", "batch_size"))
        meta |= _plain({"method": value_at(content, ("config", "method", "name"))})
        meta |= _plain({"seed": value_at(content, ("config", "run", "seed"))})
        bits = value_at(content, ("config", "data", formats.BITS))
        meta |= {formats.BITS: bits} if _is_count(bits) and bits != formats.ALL_BITS else {}
        start = value_at(content, ("init",))  # pretrain/engine/records.py: what the run has started from
        meta |= _plain({f"init_{key}": one for key, one in start.items() if one} if isinstance(start, Mapping) else {})
        seen = value_at(content, ("position", "seen"))  # earlier code counted steps only
        counted = meta.get("step", 0) * (batch_size if _is_count(batch_size) else 0)
        meta["images_seen"] = seen if _is_count(seen) else counted
    return {**meta, "branch": branch} if branch else meta


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 63


def _plain(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """Without values that a converted file could not hold, or that are as large as a log."""
    return {text_of(key): value for key, value in meta.items() if _is_small(value)}


def _is_small(value: Any) -> bool:
    """A number, a short text, or a short list of these."""
    if isinstance(value, list):
        return len(value) <= 100 and all(not isinstance(one, list) and _is_small(one) for one in value)
    return isinstance(value, float) or _is_count(value) or (isinstance(value, str) and len(value) < 200)


def _who_says(said: ImageStatistics | None, layout: Layout) -> str:
    """Who says how the training images were scaled."""
    if said:
        return "the file says"
    return "is usual (the file does not say)" if layout.shared else "its project trains with"
