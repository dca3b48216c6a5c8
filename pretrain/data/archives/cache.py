"""Indexes of archives on disk: made once, found again by the archive's path, and made anew where it has changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.archives.index import Index
from pretrain.data.files import File
from pretrain.runtime.files import FAULTS, write_atomically
from pretrain.runtime.lock import exclusive
from pretrain.runtime.printable import say
from pretrain.runtime.urls import is_url

FORMAT = "unigrad-index-1"


def cache_folder(asked: str) -> Path:
    """The folder of indexes: `asked`, or below the folder that the system has for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(asked or os.path.join(base, "unigrad", "indexes"))


def indexed(archive: File, kind: str, make: Callable[[File], Index], folder: Path) -> Index:
    """The index of an archive, from the cache where the archive has the size and time of when it was made.

    One process makes it, and others that want it wait. A cache that cannot be written is done without.

    Args:
        archive: which.
        kind: of archive.
        make: reads it.
        folder: of the cache.
    """
    about = json.dumps([FORMAT, kind, *(archive.state() or ())])
    place = archive if is_url(str(archive)) else archive.path.resolve()
    file = folder / f"{hashlib.sha256(f'{kind}:{place}'.encode('utf-8', 'surrogateescape')).hexdigest()}.npz"
    if (found := _read(file, about)) is not None:
        return found
    with _alone(file, archive):
        if (found := _read(file, about)) is not None:
            return found
        if file.exists():
            say(f"{archive} is newer than its index, which is made anew")
        found = make(archive)
        with contextlib.suppress(OSError):  # told by _alone
            _write(file, about, found)
    return found


def _read(file: Path, about: str) -> Index | None:
    """None where there is no index, or that of another state of the archive, or a damaged one."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            if arrays["about"].tobytes().decode() == about:
                return Index.of(arrays)
    except FAULTS:
        pass
    return None


def _write(file: Path, about: str, found: Index) -> None:
    arrays: dict[str, Any] = {"about": np.frombuffer(about.encode(), np.uint8), **found.arrays()}

    def write(path: Path) -> None:
        with open(path, "wb") as opened:
            np.savez(opened, **arrays)

    write_atomically(file, write, flush=False)


@contextlib.contextmanager
def _alone(file: Path, archive: File) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(file.with_suffix(".lock"), lambda _: math.inf))
        except OSError as error:
            say(
                f"note: the index of {archive} cannot be kept in {file.parent} ({error.strerror}), so every start "
                "makes it anew: name another folder with index_cache.",
                sys.stderr,
            )
        yield
