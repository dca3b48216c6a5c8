"""Trunks of timm/NAME: in files that this repository wrote, and in timm's own under the names of that network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.models import TIMM
from pretrain.models.trunks import timm_defaults
from pretrain.runtime.errors import UserError
from pretrain.weights import formats
from pretrain.weights.layouts.base import IMAGENET
from pretrain.weights.pickles.objects import OddTensor
from pretrain.weights.recognise import tensors_in, unwrapped, value_at
from pretrain.weights.stated import check_images
from pretrain.weights.trunk import TrunkFile, check_numbers, check_trunk, shapes_of

FOREIGN = "timm"  # the layout of timm's own files
AVERAGED = "state_dict_ema"  # where timm/utils/checkpoint_saver.py keeps the moving average


def name_in(content: Mapping[str, Any]) -> str | None:
    """timm/NAME, where a file that this repository wrote says that its trunk is one of timm's."""
    if content.get("format") not in (formats.CHECKPOINT, formats.EXPORT) and "provenance" not in content:
        return None
    named = [value_at(content, keys) for keys in (("config", "model", "arch"), ("arch",), ("provenance", "arch"))]
    return next((one for one in named if isinstance(one, str) and one.startswith(TIMM)), None)


def read_own(path: Path, content: Mapping[str, Any], name: str, branch: str | None) -> TrunkFile:
    """The trunk of a file that this repository wrote, under timm's names; its `meta` is left empty.

    Args:
        path: the file, for messages.
        content: what it holds.
        name: timm/NAME, as the file says.
        branch: online or target of a training checkpoint; None is online.

    Raises:
        UserError: no such branch, or not all tensors of that network.
    """
    whole = content.get("format") == formats.CHECKPOINT
    chosen = branch or "online"
    if not whole and chosen == "target":
        raise UserError(f"{path} holds a single trunk: branch 'target' needs a training checkpoint.")
    held, prefix = (content["model"], f"{chosen}.trunk.") if whole else (content.get("state_dict", content), "")
    mapping = {
        key.removeprefix(prefix): key
        for key, one in held.items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(one, Tensor)
    }
    tensors = {inner: held[key] for inner, key in mapping.items()}
    check_numbers(tensors, str(path))
    said = check_images(str(path), content)
    return TrunkFile(
        state=check_trunk(tensors, name, str(path), len((said or IMAGENET)[0])),
        arch=name,
        layout=formats.CHECKPOINT if whole else formats.EXPORT,
        meta={},
        mapping=mapping,
        branch=chosen if whole else "",
        called=prefix or "state_dict",
        pixels=said or IMAGENET,
        pixels_from="the file says" if said else "is usual (the file does not say)",
        own_names={inner: inner for inner in mapping},
        stated=name,
    )


def read_foreign(path: Path, content: Mapping[str, Any], name: str, branch: str | None) -> TrunkFile:
    """The trunk of a file under the names of timm's network, without its classifier; its `meta` is left empty.

    Args:
        path: the file, for messages.
        content: what it holds.
        name: timm/NAME, as the user says.
        branch: target is the moving average that timm's training script keeps; None is the network itself.

    Raises:
        UserError: no dictionary holds such names, or not all tensors of that network.
    """
    defaults = timm_defaults(name)
    at, names = _named_as(path, content, name, AVERAGED if branch == "target" else None)
    own, parts = shapes_of(name), _parts_of_classifier(name)
    tensors = {inner: one for inner, (_, one) in names.items() if inner in own or inner.partition(".")[0] not in parts}
    check_numbers(tensors, str(path))
    said = check_images(str(path), content)
    mapping = {inner: ".".join(filter(None, (at, names[inner][0]))) for inner in tensors}
    return TrunkFile(
        state=check_trunk(tensors, name, str(path)),
        arch=name,
        layout=FOREIGN,
        meta={},
        mapping=mapping,
        branch=branch or "",
        called=at or "the file itself",
        left_out={"classifier": beyond} if (beyond := len(names) - len(tensors)) else {},
        pixels=said or (tuple(defaults["mean"]), tuple(defaults["std"])),
        pixels_from="the file says" if said else "timm's own weights of that name have it",
        own_names={inner: inner for inner in mapping},
        peer=FOREIGN,
        stated=name,
    )


def _parts_of_classifier(name: str) -> set[str]:
    """First words of the names that timm counts to the classifier of timm/NAME."""
    given = timm_defaults(name).get("classifier") or ()
    return {one.partition(".")[0] for one in ((given,) if isinstance(given, str) else given)}


def _named_as(
    path: Path, content: Mapping[str, Any], name: str, within: str | None
) -> tuple[str, dict[str, tuple[str, Tensor | OddTensor]]]:
    """The dictionary with most names of timm/NAME: its keys, and {name without wrappers: (name, tensor)}.

    Args:
        path: the file, for messages.
        content: what it holds.
        name: timm/NAME.
        within: the keys of the dictionary; None is any but the moving average's.

    Raises:
        UserError: no dictionary holds one of the names.
    """
    wanted = shapes_of(name)
    found = [
        (at, names) for at, names in _dictionaries(content) if (at != AVERAGED if within is None else at == within)
    ]
    at, names = max(found, key=lambda one: len(one[1].keys() & wanted.keys()), default=("", {}))
    if not names.keys() & wanted.keys():
        where = f"tensor in {within}" if within else "tensor"
        raise UserError(
            f"{path} holds no {where} with a name of {name}, such as {next(iter(wanted))}: give a file of timm's own, "
            "or the name of the network that it is of."
        )
    return at, names


def _dictionaries(content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, tuple[str, Tensor | OddTensor]]]]:
    """(its keys, {name without wrappers: (name, tensor)}) of each dictionary of tensors in a file."""
    found: dict[str, dict[str, tuple[str, Tensor | OddTensor]]] = {}
    for at, name, one in tensors_in(content):
        found.setdefault(at, {})[unwrapped(name)] = (name, one)
    yield from found.items()
