"""Files that are read at any place in them, on a disk or at a URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pretrain.data.files.base import File, FileReader, Kept, State
from pretrain.data.files.blocks import GIB
from pretrain.data.files.local import LocalFile
from pretrain.data.files.remote import remote_file
from pretrain.runtime.urls import is_url

__all__ = ["File", "FileReader", "Kept", "State", "at_once", "file_at", "opened"]

THREADS = 8  # files at URLs that are asked for at once
T = TypeVar("T")


def file_at(name: str, kept: Kept) -> File:
    """The file at a path or a URL. Args: kept, where and how much of what a URL gives is kept.

    Raises:
        UserError: there is none at the URL, or it cannot be reached.
    """
    return remote_file(name, kept) if is_url(name) else LocalFile(name)


def opened(names: Sequence[str], kept: Kept) -> list[File]:
    """Several files, those at URLs at once. Args and errors as of `file_at`."""
    return _together(lambda name: file_at(name, kept), names, any(map(is_url, names)))


def partly_kept(files: Sequence[File], kept: Kept) -> str:
    """What to say of files at URLs that are larger than what may be kept of them, as the end of a line; else ""."""
    size = sum((file.state() or (0,))[0] for file in files if is_url(str(file)))
    if size <= kept.gib * GIB:
        return ""
    return f"; {size / GIB:.1f} GiB, of which url_cache_gib={kept.gib:g} keeps a part"


def at_once(work: Callable[[File], T], files: Sequence[File]) -> list[T]:
    """What `work` returns of each file; of files at URLs several at once, since each waits for its server."""
    return _together(work, files, any(is_url(str(file)) for file in files))


def _together(work: Callable[[Any], T], of: Sequence[Any], wait: bool) -> list[T]:
    if not wait or len(of) < 2:
        return [work(one) for one in of]
    pool = ThreadPoolExecutor(THREADS)
    try:
        return list(pool.map(work, of))
    finally:
        pool.shutdown(cancel_futures=True)
