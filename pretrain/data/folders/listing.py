"""The listing of a large folder, kept on disk and mapped into memory by all who read it: ranks and their workers.

It holds for as long as no folder has another time of change: whatever adds, renames or removes an entry sets that.
So a later start asks for the time of each folder, and not for the name of each file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.compact import Paths, Strings
from pretrain.data.folders.walk import Tree, walk_stamped
from pretrain.data.mapped import columns_of
from pretrain.runtime.files import FAULTS, write_atomically
from pretrain.runtime.lock import Holder, exclusive

LARGE = 20_000  # images from which a listing is kept
SETTLED = 2 * 10**9  # nanoseconds since a folder's last change; a later one in the same tick of a file system is unseen
FORMAT = "unigrad-listing-2"
ARRAYS = ("folder_of", "data", "offsets")


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
    with _turn(file) as waited:
        if not waited:
            return _listed_anew(root, endings, file, least)
    return _kept(root, file) or _listed_anew(root, endings, file, least)


@contextlib.contextmanager
def _turn(file: Path) -> Iterator[bool]:
    """Hold the lock of a listing; whether another process had it, which may have made the listing meanwhile.

    So one rank lists a large folder, and all others that start with it and see the same file wait and read.
    """
    from pretrain.runtime.distributed import asked_world_size

    waited = []

    def wait(_: Holder) -> float:
        waited.append(True)
        return math.inf

    with contextlib.ExitStack() as stack:
        if asked_world_size() > 1:
            with contextlib.suppress(OSError):  # of a folder that cannot be written
                stack.enter_context(exclusive(file.with_suffix(".lock"), wait))
        yield bool(waited)


def _listed_anew(root: Path, endings: Collection[str], file: Path, least: int) -> Tree:
    """What a walk finds; from the file where it could be kept, so that this process too holds no copy of its own."""
    begun = time.time_ns()
    tree, stamps = walk_stamped(root, endings)
    if len(tree.images) < least or max(stamps.values()) >= begun - SETTLED:
        return tree
    with contextlib.suppress(OSError):
        _write(file, tree, stamps)
    return _kept(root, file) or tree


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
        "offsets": np.append(names.starts, names.ends[-1:]),  # a name begins where the one before ends
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
        folder_of, data, offsets = (columns[name] for name in ARRAYS)
        folders = tuple(os.path.join(root, below) if below else os.fspath(root) for below in head["folders"])
        images = Paths(folders, folder_of, Strings(data, offsets[:-1], offsets[1:]))
        return Tree(root, images, tuple(head["empty"]), Counter(head["left_out"]))
    except FAULTS:
        return None
