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

from pretrain.checkpoint import FORMAT as CHECKPOINT_FORMAT
from pretrain.errors import UserError
from transfer.convert.contents import read_content
from transfer.convert.layouts import FOREIGN, LAYOUTS, Layout
from transfer.convert.names import FIRST, TO_TORCHVISION
from transfer.convert.trunk import TrunkFile, check_trunk, infer_arch, some, with_counters

WRAPPERS = re.compile(r"((module|_orig_mod)\.)*")
PROGRESS = ("epoch", "step", "global_step", "iteration")  # what training scripts call how far they were
NESTED = 5  # dictionaries within dictionaries that are looked at to tell what a file is


@dataclass(frozen=True)
class Branch:
    """A trunk in a file. within: dotted keys of its dictionary; prefix: before its names; names: of that dictionary,
    without wrappers, to (the file's name, value); called: where it lies, in the file's own words."""

    within: str
    prefix: re.Pattern[str]
    names: dict[str, tuple[str, Any]]
    called: str


@dataclass(frozen=True)
class Found:
    """A layout that fits a file, and the branches that are there: online, target."""

    layout: Layout
    branches: dict[str, Branch]


def read_trunk(
    path: str | Path, branch: str | None = None, arch: str | None = None, allow_pickle: str | None = None
) -> TrunkFile:
    """The trunk of any checkpoint that layouts.py lists.

    The layout is recognised by its names, the architecture by names and shapes. A file without any BN counter (files
    older than torch 0.4.1) gets zeros, as torch itself does on loading.

    Args:
        path: a file of torch.save, safetensors, or detectron2's pickle.
        branch: online or target, where a layout holds both; None for the one that the project itself evaluates.
        arch: torchvision's name of the network that is expected, to refuse any other.
        allow_pickle: the file's SHA-256, to let Python build objects other than tensors (contents.py).

    Raises:
        UserError: unreadable file, no known layout or more than one, an architecture other than the expected one, or a
            tensor that is missing, left over, of the wrong shape or not finite.
    """
    path = Path(path)
    content = read_content(path, allow_pickle)
    found = recognise(path, content)
    taken = _choose(path, found, branch)
    tensors, mapping = _trunk_tensors(found, taken)
    named = taken if found.layout.target else ""
    where = f"{path} ({found.layout.name})"
    inferred = infer_arch(where, tensors, _claimed(content))
    if arch not in (None, inferred):
        raise UserError(f"{where} is a {inferred}, not the {arch} that was asked for: give the checkpoint of that one.")
    state = check_trunk(with_counters(tensors, inferred), inferred, str(path))
    return TrunkFile(
        state,
        inferred,
        found.layout.name,
        _meta(content, named),
        mapping,
        named,
        found.branches[taken].called,
        next((branch.called for name, branch in found.branches.items() if name != taken), ""),
        _left_out(content, set(mapping.values())),
        found.layout.pixels,
    )


def recognise(path: Path, content: Mapping[str, Any]) -> Found:
    """The one layout that fits `content`.

    Raises:
        UserError: none or several fit; what was seen is listed, and a network that is no ResNet is named.
    """
    candidates = [found for layout in LAYOUTS for found in _candidates(layout, content)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        fitting = ", ".join(_told(found) for found in candidates)
        raise UserError(f"{path} has more than one layout: {fitting}; seen were {_seen(content)}; save one alone.")
    names = [name for _, name, _ in tensors_in(content)]
    for kind, expression in FOREIGN.items():
        if hits := [name for name in names if re.match(expression, name)]:
            raise UserError(f"{path} is {kind}: {hits[0]}; conversion is for torchvision's ResNets.")
    known = ", ".join(layout.name for layout in LAYOUTS)
    what = "is an empty dictionary" if not content else f"has no known layout; seen were {_seen(content)}"
    raise UserError(f"{path} {what}; known are {known}.")


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
        branches = {}
        for name, place in layout.places().items():
            alternatives = [within] if place.within == layout.online.within else place.within.split("|")
            there = [branch for one in alternatives if (branch := _branch(content, one, place.prefix, layout.names))]
            branches |= {name: there[0]} if there else {}
        if any(_marked(layout, branch.names) for branch in branches.values()):
            fitting.append(Found(layout, branches))
    learning = [found for found in fitting if "online" in found.branches]
    yield from learning or fitting[:1]  # a target alone is the same one at every place where the other could be


def _branch(content: Mapping[str, Any], within: str, prefix: str, names: str) -> Branch | None:
    holder: Any = content
    for key in filter(None, within.split(".")):
        holder = holder.get(key) if isinstance(holder, Mapping) else None
    if not isinstance(holder, Mapping):
        return None
    held = {bare(str(key)): (str(key), value) for key, value in holder.items()}
    if len(held) < len(holder):  # a name with and without wrapper: neither may hide the other
        held = {str(key): (str(key), value) for key, value in holder.items()}
    first = re.compile(rf"({prefix}){re.escape(FIRST[names])}$")
    hit = next(filter(None, map(first.match, held)), None)
    if hit is None:
        return None
    called = " ".join(filter(None, (within, hit[1].rstrip(".")))) or "the file itself"
    return Branch(within, re.compile(prefix), held, called)


def _beside(content: Mapping[str, Any], key: str) -> bool:
    name, _, value = key.partition("=")
    return name in content and (not value or content[name] == value)


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
        hit = there.prefix.match(name)
        inner = name[hit.end() :] if hit else ""
        if not hit or re.match(found.layout.head, inner) or not isinstance(value, Tensor):
            continue
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


def _value(content: Any, *keys: str) -> Any:
    """What lies below `keys` in nested dictionaries; None where nothing does."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _claimed(content: Mapping[str, Any]) -> str | None:
    claims = (_value(content, *keys) for keys in (("arch",), ("config", "model", "arch"), ("provenance", "arch")))
    return next((claim for claim in claims if isinstance(claim, str)), None)


def _meta(content: Mapping[str, Any], branch: str) -> dict[str, Any]:
    about = [_value(content, "provenance", "meta"), content.get("meta")]
    meta = {key: value for one in about if isinstance(one, Mapping) for key, value in _plain(one).items()}
    meta |= {name: content[name] for name in PROGRESS if isinstance(content.get(name), int)}
    if content.get("format") == CHECKPOINT_FORMAT:
        meta["method"] = _value(content, "config", "method", "name")
        meta["seed"] = _value(content, "config", "run", "seed")
        meta["images_seen"] = meta.get("step", 0) * (_value(content, "config", "optim", "batch_size") or 0)
    return {**meta, "branch": branch} if branch else meta


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Without values that a converted file could not hold, or that are as large as a log."""
    return {
        str(key): value
        for key, value in meta.items()
        if isinstance(value, (bool, int, float, list)) or (isinstance(value, str) and len(value) < 200)
    }
