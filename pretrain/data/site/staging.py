"""Packed images on the disk of each node: copied once before the first step, checked image by image, read by its ranks.

SCRATCH/unigrad-HASH/images.blob, where HASH is that of the set's index, which holds the checksums of all its images. A
copy that was not finished, or not found to be right, never has this name.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pretrain.data.decode import UnreadableImage
from pretrain.data.packed import BLOB, INDEX, PackedSet
from pretrain.data.site.standing_in import SCRATCH
from pretrain.data.sources import ImageSource
from pretrain.data.sources.several import SeveralStore
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import make_folder_atomically
from pretrain.runtime.lock import exclusive

SPARE = 64 * 2**20  # bytes that are left free
TOLD = 2.0  # seconds after which a copy is spoken of
Tell = Callable[[str], None]


def scratch_folder(option: str) -> Path | None:
    """The folder of data.scratch, else of the environment, whose own variables are those of this node; None: neither.

    Raises:
        UserError: this node does not set a variable that stands in it.
    """
    if option:
        return Path(option)
    text = os.path.expanduser(os.path.expandvars(os.environ.get(SCRATCH, "")))
    if unset := re.search(r"\$\{?(\w+)", text):
        raise UserError(f"{SCRATCH} is '{text}', and {socket.gethostname()} sets no variable {unset[1]}.")
    return Path(text) if text else None


def staged(source: ImageSource, scratch: Path, tell: Tell) -> ImageSource:
    """The same images, with the bytes of packed sets read from below `scratch`; all others are read where they are.

    The first process of a node that comes here copies, and the others wait for it.

    Args: source: of any kind. scratch: a folder on this node's own disk. tell: prints one line.

    Raises:
        UserError: there is no room, the folder cannot be written, or the copy is not what was packed.
    """
    if isinstance(source.store, SeveralStore):
        sources = tuple(staged(one, scratch, tell) for one in source.store.sources)
        return replace(source, store=replace(source.store, sources=sources))
    if not isinstance(source.store, PackedSet):
        tell(f"note: {source.root} is no packed set, so it is read where it is and not copied to {scratch}")
        return source
    return replace(source, store=replace(source.store, root=_copied(source.store, scratch, tell), _map=None))


def _copied(packed: PackedSet, scratch: Path, tell: Tell) -> Path:
    """The folder below `scratch` that holds a checked copy of the blob."""
    digest = hashlib.sha256((packed.root / INDEX).read_bytes()).hexdigest()[:16]
    folder, size = scratch / f"unigrad-{digest}", int(packed.offsets[-1])
    try:
        with exclusive(scratch / f".unigrad-{digest}.lock", lambda _: math.inf):
            if (folder / BLOB).is_file() and (folder / BLOB).stat().st_size == size:
                return folder
            shutil.rmtree(folder, ignore_errors=True)
            _check_room(scratch, size)
            begun = time.monotonic()
            make_folder_atomically(folder, lambda part: _fill(packed, part))
            if (taken := time.monotonic() - begun) > TOLD:
                tell(f"copied {size / 1e9:.1f} GB of {packed.root} to {folder} in {taken:.0f} s, and checked it")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "it is full" if full else error.strerror or str(error)
        raise UserError(
            f"{packed.root} cannot be copied to {scratch} on {socket.gethostname()} ({why}): name another folder by "
            f"data.scratch or {SCRATCH}, or leave both out."
        ) from error
    return folder


def _check_room(scratch: Path, size: int) -> None:
    free = shutil.disk_usage(scratch).free
    if free < size + SPARE:
        raise UserError(
            f"{scratch} on {socket.gethostname()} has {free / 1e9:.1f} GB free, and the packed images take "
            f"{size / 1e9:.1f} GB: make room, name another folder by data.scratch or {SCRATCH}, or leave both out."
        )


def _fill(packed: PackedSet, folder: Path) -> None:
    """Copy the blob, then read every image of the copy against its checksum.

    An image that was damaged before is left to training, which passes it over and names it.
    """
    folder.mkdir()
    shutil.copyfile(packed.root / BLOB, folder / BLOB)
    copy = replace(packed, root=folder, _map=None)
    for place in range(len(packed.names)):
        try:
            copy.read_bytes(place)
        except UnreadableImage as error:
            if _is_whole(packed, place):
                raise UserError(
                    f"{packed.names[place]} is damaged in the copy of {packed.root} on {socket.gethostname()}, and "
                    "whole where it came from: that disk or the way to it is at fault; leave data.scratch out."
                ) from error


def _is_whole(packed: PackedSet, place: int) -> bool:
    try:
        packed.read_bytes(place)
    except UnreadableImage:
        return False
    return True
