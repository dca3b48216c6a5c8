"""The tree that names of images make, in the order of a walk over the same files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pretrain.data.compact import Paths
from pretrain.data.folders.walk import Tree


def tree_of(root: Path, names: Sequence[str], left_out: Counter[str]) -> tuple[Tree, np.ndarray]:
    """The tree that a walk would find if the names were files below `root`, and where in `names` each image is.

    Args: left_out: what the tree says was left out.
    """
    folders: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        folders[name.rpartition("/")[0]].append(place)
    order: list[int] = []
    listing = []
    for folder in sorted(folders, key=lambda folder: folder.split("/") if folder else []):
        inside = sorted(folders[folder], key=names.__getitem__)
        order += inside
        listing.append((str(root / folder), [names[place].rpartition("/")[2] for place in inside]))
    return Tree(root, Paths.listed(listing), (), left_out), np.asarray(order, np.int64)
