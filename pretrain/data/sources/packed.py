"""A packed set: one blob and its index, as `tools/prepare_data.py pack` writes them (pretrain/data/packed.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pretrain.data.compact import Ints, Paths
from pretrain.data.folders.classes import Layout
from pretrain.data.packed import is_packed, open_packed
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.runtime.printable import printable


def _takes(root: str) -> bool:
    return is_packed(Path(root))


def _open(asked: Asked) -> ImageSource:
    root = asked.path
    packed = open_packed(root)
    paths, classes = Paths.below(root, packed.names), tuple(packed.header["classes"])
    labels = Ints(packed.labels) if classes else None
    about = f"{printable(str(root))}: {Layout(labels, classes, 0).counts(len(paths))}, packed"
    places = Ints(np.arange(len(paths)))
    return ImageSource(root, paths, labels, classes, packed, places, about, "packed")


KIND = Kind("packed", "a packed set", _takes, _open)
