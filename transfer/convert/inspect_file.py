"""What a checkpoint file is, in lines to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.models.trunks import is_timm
from pretrain.runtime.files import sha256_of
from pretrain.runtime.printable import printable, shortened
from pretrain.weights.numbers import COUNTER, finite
from pretrain.weights.of_timm import name_in
from pretrain.weights.pickles.objects import OddTensor
from pretrain.weights.read_file import read_content
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.recognise import Recognised, group_of, recognise, tensors_in
from pretrain.weights.trunk import STATISTICS

NOTES = 40  # plain values of a file that are told
GROUPS = 200  # groups of tensors that are told


def describe_file(
    path: Path,
    branch: str | None = None,
    arch: str | None = None,
    prefix: str | None = None,
    allow_pickle: str | None = None,
) -> Iterator[str]:
    """What the file holds, group by group, then its layout, branches and trunk; stops where that is unknown.

    Args:
        path: the file.
        branch: online or target; None for the one that the project itself evaluates.
        arch: of the network that is expected, as of `read_trunk`.
        prefix: what the trunk's names begin with, for a file of no known layout.
        allow_pickle: the file's SHA-256, to let Python build objects other than tensors.

    Raises:
        UserError: as `read_trunk`, after the lines that could be told.
    """
    content = read_content(path, allow_pickle)
    yield f"{printable(str(path))}: {path.stat().st_size:,} bytes, sha256 {sha256_of(path)}"
    plain = [(key, value) for key, value in content.items() if isinstance(value, (bool, int, float, str))]
    notes = [f"{shortened(key)}={shortened(value)}" for key, value in plain[:NOTES]]
    yield f"says of itself: {', '.join(notes) or 'nothing'}"
    yield from _groups(content)
    if arch is not None and is_timm(arch) and name_in(content) is None:
        yield f"layout: the names of {arch}, as --arch says"
    else:
        yield from _layout(recognise(path, content, prefix))
    del content  # read_trunk reads it again: one copy of a large file at a time
    trunk = read_trunk(path, branch, arch, prefix, allow_pickle)
    mean, std = trunk.pixels
    yield f"trunk: {trunk.arch}, {len(trunk.state)} tensors from {trunk.called}, whole, finite, with running statistics"
    yield f"input: {'RGB' if trunk.channels == 3 else 'grey'} in 0..1, mean {mean}, std {std}, as {trunk.pixels_from}"
    yield "left out: " + (", ".join(f"{group} ({count})" for group, count in trunk.left_out.items()) or "nothing")


def _layout(recognised: Recognised) -> Iterator[str]:
    yield f"layout: {recognised.layout.name} ({recognised.layout.source})"
    for name, one in recognised.branches.items():
        yield f"branch {name}: {one.called}" + ("" if recognised.layout.target else " (the only one)")


def _groups(content: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[str, list[tuple[str, Tensor | OddTensor]]] = {}
    for at, name, tensor in tensors_in(content):
        groups.setdefault(group_of(at, name), []).append((name, tensor))
    if not groups:
        yield "no tensors"
    for group, held in list(groups.items())[:GROUPS]:
        yield f"  {group}: {', '.join(_facts(held))}"
    if len(groups) > GROUPS:
        yield f"  and {len(groups) - GROUPS} more groups"


def _facts(held: list[tuple[str, Tensor | OddTensor]]) -> list[str]:
    """Of a group of tensors: how many, of which types, and what is notable."""
    plain = [(name, one) for name, one in held if isinstance(one, Tensor)]
    numbers = sum(tensor.numel() for _, tensor in plain)
    kinds = {one.kind if isinstance(one, OddTensor) else str(one.dtype).removeprefix("torch.") for _, one in held}
    facts = [f"{len(held)} tensors", f"{numbers:,} numbers", ", ".join(map(shortened, sorted(kinds)))]
    if any(name.endswith(STATISTICS) for name, _ in held):
        counted = any(name.endswith(COUNTER) for name, _ in held)
        facts.append("running statistics" + ("" if counted else " without counters"))
    if broken := [name for name, tensor in plain if not finite(tensor)]:
        facts.append(f"NOT FINITE in {len(broken)}")
    return facts
