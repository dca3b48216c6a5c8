"""The listing of a large folder, kept on disk and mapped into memory by all who read it: ranks and their workers.

It holds for as long as no folder has another time of change: whatever adds, renames or removes an entry sets that.
So a later start asks for the time of each folder, and not for the name of each file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.compact import Paths, Strings
from pretrain.data.mapped import columns_of
from pretrain.data.walk import Tree, walk_stamped
from pretrain.runtime.files import FAULTS, write_atomically

LARGE = 20_000  # images from which a listing is kept
SETTLED = 2 * 10**9  # nanoseconds since a folder's last change; a later one in the same tick of a file system is unseen
FORMAT = "unigrad-listing-1"
ARRAYS = ("folder_of", "data", "starts", "ends")


def listed(root: Path, endings: Collection[str], folder: Path, least: int = LARGE) -> Tree:
    """What `walk` finds below `root`, from the listing that an earlier call has kept where nothing has changed since.

    Args:
        root: the folder of images.
        endings: of images, in lower case with their dots.
        folder: of the kept listings; one that cannot be written is done without.
        least: how many images a folder has whose listing is kept.

    Raises:
        UserError: a folder below cannot be read.
    """
    told = json.dumps([FORMAT, os.path.realpath(root), sorted(endings)])
    file = folder / f"{hashlib.sha256(told.encode()).hexdigest()}.npz"
    if (found := _kept(root, file)) is not None:
        return found
    begun = time.time_ns()
    tree, stamps = walk_stamped(root, endings)
    if len(tree.images) >= least and max(stamps.values()) < begun - SETTLED:
        with contextlib.suppress(OSError):
            _write(file, tree, stamps)
    return tree


def _write(file: Path, tree: Tree, stamps: Mapping[str, int]) -> None:
    root, images = os.fspath(tree.root), tree.images
    head = {
        "stamps": {_below(root, folder): stamp for folder, stamp in stamps.items()},
        "folders": [_below(root, folder) for folder in images.folders],
        "empty": tree.empty,
        "left_out": tree.left_out,
    }
    names = images.names
    columns: dict[str, Any] = {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "folder_of": images.folder_of,
        "data": names.data,
        "starts": names.starts,
        "ends": names.ends,
    }

    def write(path: Path) -> None:
        with open(path, "wb") as opened:
            np.savez(opened, **columns)

    write_atomically(file, write, flush=False)


def _below(root: str, folder: str) -> str:
    """A folder as the walk spells it, without the root; "" for the root."""
    return folder[len(root) :].lstrip(os.sep)


def _kept(root: Path, file: Path) -> Tree | None:
    """The kept listing; None where there is none, where a folder has changed, or where it is damaged."""
    try:
        columns = {name: np.asarray(column.mapped()) for name, column in columns_of(file).items()}
        head = json.loads(columns["head"].tobytes())
        for below, stamp in head["stamps"].items():
            if os.stat(os.path.join(root, below, ".")).st_mtime_ns != stamp:
                return None
        folder_of, data, starts, ends = (columns[name] for name in ARRAYS)
        folders = tuple(os.path.join(root, below) if below else os.fspath(root) for below in head["folders"])
        images = Paths(folders, folder_of, Strings(data, starts, ends))
        return Tree(root, images, tuple(head["empty"]), Counter(head["left_out"]))
    except FAULTS:
        return None
