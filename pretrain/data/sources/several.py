"""Several roots as one set, [A,B]: each of any kind, with weights where the user says them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pretrain.data.compact import Ints, Paths, Strings
from pretrain.data.mixture import Mixture
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.data.sources.kinds import kind_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import is_url, pieces

EXACT = 1e-6  # of the weights' sum


@dataclass(frozen=True)
class SeveralStore:
    """The images of several sources, one after the other. ends (K,): how many there are up to each source's last."""

    sources: tuple[ImageSource, ...]
    ends: np.ndarray

    def _of(self, place: int) -> tuple[ImageSource, int]:
        part = int(np.searchsorted(self.ends, place, side="right"))
        return self.sources[part], place - (int(self.ends[part - 1]) if part else 0)

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one image's file. Raises UnreadableImage."""
        source, index = self._of(place)
        return source.read_bytes(index)

    def fingerprint(self, place: int) -> object:
        """As its own source has it."""
        source, index = self._of(place)
        return source.fingerprint(index)


def roots_of(root: str) -> list[str]:
    """The roots of `[A,B]`, with `~` as the home folder; commas inside braces belong to a pattern."""
    return [os.path.expanduser(one.strip().strip("'\"")) for one in pieces(root)]


def is_several(root: str) -> bool:
    """Whether a root is of the form [A,B], and no folder of that name."""
    return root.startswith("[") and root.endswith("]") and not os.path.exists(root)


def _open(asked: Asked) -> ImageSource:
    roots = roots_of(asked.root)
    if "" in roots:
        raise UserError(f"{asked.root} names an empty root: write [A,B].")
    _check_once(asked.root, roots)
    weights = [float(weight) for weight in asked.reading.weights]
    _check_weights(asked, weights, len(roots))
    plain = replace(asked, reading=replace(asked.reading, weights=()))
    sources = [_opened(root, plain) for root in roots]
    return _joined(asked.root, sources, weights)


def _opened(root: str, asked: Asked) -> ImageSource:
    kind = kind_of(root)
    reading = asked.reading if kind.columns(root) else asked.reading.without_columns()
    return kind.open(replace(asked, root=root, reading=reading))


def _has_columns(root: str) -> bool:
    return any(kind_of(one).columns(one) for one in roots_of(root))


def _check_once(text: str, roots: Sequence[str]) -> None:
    real = [root if is_url(root) else os.path.realpath(root) for root in roots]
    if twice := next((root for place, root in enumerate(roots) if real[place] in real[:place]), None):
        raise UserError(f"{text} names {twice} twice: keep one, and give it a larger weight if that was meant.")


def _check_weights(asked: Asked, weights: Sequence[float], roots: int) -> None:
    name = asked.option("weights")
    told = f"{name}[{','.join(f'{weight:g}' for weight in weights)}]"
    if weights and len(weights) != roots:
        raise UserError(f"{told} are {len(weights)} weights for {roots} roots: give one for each.")
    if weights and (not all(weight > 0 for weight in weights) or not math.isclose(sum(weights), 1, abs_tol=EXACT)):
        raise UserError(f"{told} sum to {sum(weights):g}: give shares above 0 that sum to 1.")


def _joined(text: str, sources: Sequence[ImageSource], weights: Sequence[float]) -> ImageSource:
    """One set of several: labelled where all of them are, its classes those of all by name."""
    root, sizes = Path(text), [len(source) for source in sources]
    keys = Strings.of(
        f"{name}/{source.key(index)}"
        for name, source in zip(_names(sources), sources, strict=True)
        for index in range(len(source))
    )
    classes: tuple[str, ...] = ()
    labels = None
    if all(source.labels is not None for source in sources):
        classes = tuple(sorted({name for source in sources for name in source.classes}))
        index = {name: place for place, name in enumerate(classes)}
        own = [np.asarray([index[name] for name in source.classes], np.int32) for source in sources]
        parts = [own[at][np.asarray(source.labels, np.int64)] for at, source in enumerate(sources)]
        labels = Ints(np.concatenate(parts))
    mixture = Mixture(tuple(sizes), tuple(weights)) if weights else None
    shares = f", weights {', '.join(f'{weight:g}' for weight in weights)}" if weights else ""
    about = f"{'; '.join(source.about for source in sources)}; together {sum(sizes)} images{shares}"
    store = SeveralStore(tuple(sources), np.cumsum(sizes))
    places = Ints(np.arange(sum(sizes)))
    return ImageSource(root, Paths.below(root, keys), labels, classes, store, places, about, "several", mixture=mixture)


def _names(sources: Sequence[ImageSource]) -> list[str]:
    """A name for each root: that of its folder or file, with its number where two have the same."""
    names = [source.root.name or "root" for source in sources]
    return names if len(set(names)) == len(names) else [f"{at}-{name}" for at, name in enumerate(names)]


KIND = Kind("several", "several roots, [A,B]", is_several, _open, columns=_has_columns)
