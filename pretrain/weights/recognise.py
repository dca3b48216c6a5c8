"""Which layout a file has, told by the names of its tensors, and where the layout's branches lie in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from pretrain.weights.layouts import FOREIGN, LAYOUTS, NAMINGS, layouts_below
from pretrain.weights.layouts.base import Layout, Place
from pretrain.weights.pickles.objects import OddTensor
from pretrain.weights.trunk import first_few

# words in names that DistributedDataParallel, torch.compile, FSDP, activation checkpoints and DeepSpeed put there
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
MANY = 20_000  # names of a dictionary in which no trunk is looked for
NESTED = 5  # dictionaries within dictionaries that are searched for tensors


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
        return shortened(" ".join(filter(None, (self.within, self.prefix.rstrip("."))))) or "the file itself"


@dataclass(frozen=True)
class Recognised:
    """A layout that fits a file, and those of its branches that the file holds, by name: online, target."""

    layout: Layout
    branches: dict[str, Branch]


def recognise(path: Path, content: Mapping[str, Any], prefix: str | None = None) -> Recognised:
    """The one layout that fits `content`, or the one that `prefix` states.

    Raises:
        UserError: none or several fit; what was seen is listed, and a network that is no ResNet is named.
    """
    held = list(tensors_in(content))
    layouts = LAYOUTS if prefix is None else layouts_below(prefix, "|".join(dict.fromkeys(at for at, *_ in held)))
    fitting = [one for layout in layouts for one in _readings_of(layout, content)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = ", ".join(_described(one) for one in fitting)
        raise UserError(f"{path} has more than one layout: {listed}; seen were {_seen(content)}; save one alone.")
    for kind, expression in FOREIGN.items():
        if hits := [name for _, name, _ in held if re.match(expression, name)]:
            raise UserError(f"{path} is {kind}: {shortened(hits[0])}; conversion is for torchvision's ResNets.")
    if not content:
        raise UserError(f"{path} is an empty dictionary: give a checkpoint.")
    known = ", ".join(layout.name for layout in layouts)
    raise UserError(f"{path} has no known layout; seen were {_seen(content)}; known are {known}{_prefix_hint(held)}.")


def tensors_in(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Tensor | OddTensor]]:
    """(dotted keys of its dictionary, name, tensor) of every tensor in nested dictionaries.

    A dictionary that a file holds in several places is visited in the first alone.
    """
    seen, waiting = {id(content)}, [("", content, NESTED)]
    while waiting:
        at, one, depth = waiting.pop()
        inner = []
        for key, value in one.items():
            if isinstance(value, (Tensor, OddTensor)):
                yield at, text_of(key), value
            elif isinstance(value, Mapping) and depth and id(value) not in seen:
                seen.add(id(value))
                inner.append((f"{at}.{text_of(key)}" if at else text_of(key), value, depth - 1))
        waiting += reversed(inner)


def text_of(key: Any) -> str:
    """A key of a file's dictionary as text."""
    return key if isinstance(key, str) else shortened(key)


def group_of(at: str, name: str) -> str:
    """What a tensor belongs to, for people: its dictionary and the first word of its name, up to the first number."""
    words = [*filter(None, at.split(".")), unwrapped(name).partition(".")[0]]
    return shortened(".".join(itertools.takewhile(lambda word: not word.isdigit(), words))) or "the file itself"


def unwrapped(name: str) -> str:
    """A name without the words of DistributedDataParallel, torch.compile and their like, wherever they stand."""
    return ".".join(word for word in name.split(".") if word not in WRAPPERS)


def value_at(content: Any, keys: Iterable[str]) -> Any:
    """What lies below `keys` in nested dictionaries; None where nothing does."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _readings_of(layout: Layout, content: Mapping[str, Any]) -> Iterator[Recognised]:
    """Every way in which `layout` fits: none, one, or several where the file is ambiguous."""
    if not all(_has_key(content, key) for key in layout.keys):
        return
    if any(_has_key(content, key) for key in layout.absent_keys):
        return
    fitting = []
    places = layout.places()
    for within in layout.online.within.split("|"):
        held: dict[str, list[Branch]] = {
            name: _branches(content, within if place.within == layout.online.within else place.within, place, layout)
            for name, place in places.items()
        }
        absent: list[Branch | None] = [None]
        for chosen in itertools.product(*(branches or absent for branches in held.values())):
            branches = {name: branch for name, branch in zip(places, chosen, strict=True) if branch}
            if any(_marked(layout, branch.names) for branch in branches.values()):
                fitting.append(Recognised(layout, branches))
    with_online = [one for one in fitting if "online" in one.branches]
    yield from with_online or fitting[:1]  # a target alone is seen once for each place where online could be


def _branches(content: Mapping[str, Any], withins: str, place: Place, layout: Layout) -> list[Branch]:
    """All trunks that begin as `place` says. Where there are several, the user must choose."""
    branches = []
    for within in withins.split("|"):
        holder = value_at(content, filter(None, within.split(".")))
        if not isinstance(holder, Mapping) or len(holder) > MANY:
            continue
        keys = {text_of(key): (text_of(key), value) for key, value in holder.items()}
        held = {_own_name(name, layout): one for name, one in keys.items()}
        if len(held) < len(keys):  # a name with and without wrapper: neither may hide the other
            held = keys
        for prefix in (place.prefix, *place.otherwise):
            first = re.compile(rf"({prefix}){re.escape(layout.naming.first)}$")
            if found := [Branch(within, hit[1], held) for hit in map(first.match, held) if hit]:
                branches += found
                break
    return branches


def _own_name(name: str, layout: Layout) -> str:
    """A name without wrappers, in the place where the layout's trunk has it."""
    name = unwrapped(name)
    for expression, text in layout.moved:
        name = re.sub(expression, text, name)
    return name


def _has_key(content: Mapping[str, Any], key: str) -> bool:
    """Whether the top of a file has `key`, or `key=value`."""
    name, _, value = key.partition("=")
    return name in content and (not value or text_of(content[name]) == value)


def _marked(layout: Layout, names: Iterable[str]) -> bool:
    def some_begins(expression: str) -> bool:
        return any(re.match(expression, name) for name in names)

    return all(map(some_begins, layout.marks)) and not any(map(some_begins, layout.unless))


def _prefix_hint(held: list[tuple[str, str, Tensor | OddTensor]]) -> str:
    """Where a ResNet seems to begin, or that it may be another network; only a person may say so."""
    ends = "|".join(re.escape(naming.first) for naming in sorted(NAMINGS, key=lambda one: -len(one.first)))
    firsts = [unwrapped(name) for _, name, one in held if isinstance(one, Tensor) and one.shape[1:] == (3, 7, 7)]
    stems = {hit[1] for hit in (re.fullmatch(rf"(|.*?\.)(?:{ends})", name) for name in firsts) if hit}
    prefixes = [shortened(stem) or '""' for stem in sorted(stems)][:3]
    if not prefixes:
        return "; if its names are those of a network of timm, add --arch timm/NAME"
    return "".join(f"; if its trunk is below {prefix}, add --prefix {prefix}" for prefix in prefixes)


def _described(one: Recognised) -> str:
    places = " and ".join(branch.called for branch in one.branches.values())
    return f"{one.layout.name} (in {places})"


def _seen(content: Mapping[str, Any]) -> str:
    nested = [(name, inner) for name, inner in content.items() if isinstance(inner, Mapping) and inner]
    return "; ".join(
        [f"keys {first_few(content, 8)}", *(f"{shortened(name)}: {first_few(one)}" for name, one in nested[:3])]
    )
