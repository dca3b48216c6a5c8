"""Which layout of the table a file has, and its trunk under torchvision's names."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.runtime.errors import UserError
from transfer.convert.about import claimed, meta, pixels, value_at
from transfer.convert.layouts import FOREIGN, LAYOUTS, Layout, Place, below
from transfer.convert.names import FIRST, TO_TORCHVISION
from transfer.convert.read_file import read_content
from transfer.convert.trunk import TrunkFile, check_trunk, infer_arch, some, with_counters

WRAPPERS = re.compile(r"((module|_orig_mod)\.)*")
NESTED = 5  # dictionaries within dictionaries that are looked at to tell what a file is


@dataclass(frozen=True)
class Branch:
    """A trunk in a file.

    within: dotted keys of its dictionary. prefix: what its names begin with. names: all of that dictionary, without
    wrappers, to (the file's name, value).
    """

    within: str
    prefix: str
    names: dict[str, tuple[str, Any]]

    @property
    def called(self) -> str:
        """Where it lies, in the file's own words."""
        return " ".join(filter(None, (self.within, self.prefix.rstrip(".")))) or "the file itself"


@dataclass(frozen=True)
class Found:
    """A layout that fits a file, and the branches that are there: online, target."""

    layout: Layout
    branches: dict[str, Branch]


def read_trunk(
    path: str | Path,
    branch: str | None = None,
    arch: str | None = None,
    prefix: str | None = None,
    allow_pickle: str | None = None,
) -> TrunkFile:
    """The trunk of any checkpoint that layouts.py lists.

    The layout is recognised by its names, the architecture by names and shapes. A file without any BN counter (files
    older than torch 0.4.1) gets zeros, as torch itself does on loading.

    Args:
        path: a file of torch.save, safetensors, or detectron2's pickle.
        branch: online or target, where a layout holds both; None for the one that the project itself evaluates.
        arch: torchvision's name of the network that is expected, to refuse any other.
        prefix: what the trunk's names begin with, for a file of no known layout.
        allow_pickle: the file's SHA-256, to let Python build objects other than tensors (contents.py).

    Raises:
        UserError: unreadable file, no known layout or more than one, an architecture other than the expected one, or a
            tensor that is missing, left over, of the wrong shape or not finite.
    """
    content = read_content(path := Path(path), allow_pickle)
    found = recognise(path, content, prefix)
    taken = _choose(path, found, branch)
    tensors, mapping = _trunk_tensors(found, taken)
    named = taken if found.layout.target else ""
    where = f"{path} ({found.layout.name})"
    inferred = infer_arch(where, tensors, claimed(content))
    if arch not in (None, inferred):
        raise UserError(f"{where} is a {inferred}, not the {arch} that was asked for: give the checkpoint of that one.")
    state = check_trunk(with_counters(tensors, inferred), inferred, str(path))
    return TrunkFile(
        state,
        inferred,
        found.layout.name,
        meta(content, named),
        mapping,
        named,
        found.branches[taken].called,
        next((branch.called for name, branch in found.branches.items() if name != taken), ""),
        _left_out(content, set(mapping.values())),
        *pixels(content, found.layout),
    )


def recognise(path: Path, content: Mapping[str, Any], prefix: str | None = None) -> Found:
    """The one layout that fits `content`, or the one that `prefix` states.

    Raises:
        UserError: none or several fit; what was seen is listed, and a network that is no ResNet is named.
    """
    held = list(tensors_in(content))
    layouts = LAYOUTS if prefix is None else below(prefix, "|".join(dict.fromkeys(at for at, *_ in held)))
    candidates = [found for layout in layouts for found in _candidates(layout, content)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        fitting = ", ".join(_told(found) for found in candidates)
        raise UserError(f"{path} has more than one layout: {fitting}; seen were {_seen(content)}; save one alone.")
    for kind, expression in FOREIGN.items():
        if hits := [name for _, name, _ in held if re.match(expression, name)]:
            raise UserError(f"{path} is {kind}: {hits[0]}; conversion is for torchvision's ResNets.")
    if not content:
        raise UserError(f"{path} is an empty dictionary: give a checkpoint.")
    known = ", ".join(layout.name for layout in layouts)
    raise UserError(f"{path} has no known layout; seen were {_seen(content)}; known are {known}{_hint(held)}.")


def _hint(held: list[tuple[str, str, Tensor]]) -> str:
    """Where a ResNet seems to begin; only a person may say that it does."""
    firsts = [bare(name) for _, name, tensor in held if tensor.ndim == 4 and tuple(tensor.shape[1:]) == (3, 7, 7)]
    stems = {hit[1] for hit in (re.fullmatch(r"(|.*\.)(conv1|0)\.weight", name) for name in firsts) if hit}
    told = [stem or '""' for stem in sorted(stems)][:3]
    return "".join(f"; if its trunk is below {stem}, add --prefix {stem}" for stem in told)


def tensors_in(content: Mapping[str, Any], at: str = "", depth: int = NESTED) -> Iterator[tuple[str, str, Tensor]]:
    """(dotted keys of its dictionary, name, tensor) of every tensor in nested dictionaries."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield at, str(key), value
        elif isinstance(value, Mapping) and depth:
            yield from tensors_in(value, f"{at}.{key}" if at else str(key), depth - 1)


def bare(name: str) -> str:
    """A name without the prefixes of DistributedDataParallel and torch.compile."""
    return name[WRAPPERS.match(name).end() :]


def _candidates(layout: Layout, content: Mapping[str, Any]) -> Iterator[Found]:
    if not all(_beside(content, key) for key in layout.beside) or any(_beside(content, key) for key in layout.alone):
        return
    fitting = []
    for within in layout.online.within.split("|"):
        places = layout.places()
        held = {
            name: _branches(content, within if place.within == layout.online.within else place.within, place, layout)
            for name, place in places.items()
        }
        for chosen in itertools.product(*(branches or [None] for branches in held.values())):
            branches = {name: branch for name, branch in zip(places, chosen, strict=True) if branch}
            if any(_marked(layout, branch.names) for branch in branches.values()):
                fitting.append(Found(layout, branches))
    learning = [found for found in fitting if "online" in found.branches]
    yield from learning or fitting[:1]  # a target alone is the same one at every place where the other could be


def _branches(content: Mapping[str, Any], withins: str, place: Place, layout: Layout) -> list[Branch]:
    """All trunks that begin as `place` says; more than one is not for us to choose from."""
    first = re.compile(rf"({place.prefix}){re.escape(FIRST[layout.names])}$")
    found = []
    for within in withins.split("|"):
        holder = value_at(content, *filter(None, within.split(".")))
        if not isinstance(holder, Mapping):
            continue
        held = {bare(str(key)): (str(key), value) for key, value in holder.items()}
        if len(held) < len(holder):  # a name with and without wrapper: neither may hide the other
            held = {str(key): (str(key), value) for key, value in holder.items()}
        found += [Branch(within, hit[1], held) for hit in map(first.match, held) if hit]
    return found


def _beside(content: Mapping[str, Any], key: str) -> bool:
    name, _, value = key.partition("=")
    return name in content and (not value or str(content[name]) == value)


def _marked(layout: Layout, names: Mapping[str, Any]) -> bool:
    def there(expression: str) -> bool:
        return any(re.match(expression, name) for name in names)

    return all(there(mark) for mark in layout.marks) and not any(there(mark) for mark in layout.unless)


def _choose(path: Path, found: Found, branch: str | None) -> str:
    layout = found.layout
    taken = branch or (layout.takes if layout.target else "online")
    if taken == "target" and not layout.target:
        raise UserError(f"{path} ({layout.name}) holds a single trunk: branch 'target' needs a training checkpoint.")
    if taken not in found.branches:
        held = ", ".join(f"--branch {name} ({there.called})" for name, there in found.branches.items())
        raise UserError(f"{path} ({layout.name}) holds no tensor of the {taken} branch: choose {held}.")
    return taken


def _trunk_tensors(found: Found, branch: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The branch's tensors under torchvision's names without its head, and those names to the file's."""
    there = found.branches[branch]
    rename = TO_TORCHVISION[found.layout.names]
    tensors, mapping = {}, {}
    for name, (key, value) in there.names.items():
        inner = name.removeprefix(there.prefix)
        if name.startswith(there.prefix) and isinstance(value, Tensor) and not re.match(found.layout.head, inner):
            tensors[rename(inner)] = value
            mapping[rename(inner)] = ".".join(filter(None, (there.within, key)))
    return tensors, mapping


def group_of(at: str, name: str) -> str:
    """What a tensor belongs to, for people: its dictionary and the first word of its name, up to the first number."""
    words = [*filter(None, at.split(".")), bare(name).partition(".")[0]]
    return ".".join(itertools.takewhile(lambda word: not word.isdigit(), words)) or "the file itself"


def _left_out(content: Mapping[str, Any], taken: set[str]) -> dict[str, int]:
    others = ((at, name) for at, name, _ in tensors_in(content) if ".".join(filter(None, (at, name))) not in taken)
    return dict(Counter(group_of(at, name) for at, name in others))


def _told(found: Found) -> str:
    places = " and ".join(branch.called for branch in found.branches.values())
    return f"{found.layout.name} (in {places})"


def _seen(content: Mapping[str, Any]) -> str:
    nested = [f"{name}: {some(inner)}" for name, inner in content.items() if isinstance(inner, Mapping) and inner]
    return "; ".join([f"keys {some(content, 8)}", *nested[:3]])
