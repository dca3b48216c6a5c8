"""Unpacking archives that come from elsewhere: verified, resumable, and never a file outside the given folder."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically, write_json
from pretrain.runtime.names import path_inside
from tools.datasets.unpacking.members import Member, members, survey

STAMPS = ".prepared"  # below ROOT: which archives were verified and unpacked completely
BLOCK = 1 << 20
DAMAGED = (  # what Python's readers of archives raise on bytes that they do not expect
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, RuntimeError, LookupError, ArithmeticError, MemoryError),
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Archive:
    """An archive as its publisher names it. digest: "md5:...", "sha1:..." or "sha256:..."; empty
    where none is published.

    place: member's name to its path below ROOT, None to leave it packed.
    """

    name: str
    digest: str
    place: Callable[[str], str | None]


def unpack(
    archive: Archive, folder: Path, root: Path, verify: bool = True, write: Callable[..., None] | None = None
) -> None:
    """Write the members of FOLDER/NAME below `root`; go on where an earlier call stopped.

    A file that is there with its full size is left alone; all others are written under another name first. An
    archive that was unpacked completely is not read again while its size and time stay the same.

    Args:
        archive: its name, digest and the places of its members.
        folder: where the archive lies.
        root: where its members go; also holds the stamps of unpacked archives.
        verify: whether the digest is checked first.
        write: replaces `write_members`, for an archive of archives.

    Raises:
        UserError: another digest, a damaged archive, a full disk, or what `survey` refuses.
    """
    path, stamp = folder / archive.name, root / STAMPS / f"{archive.name}.json"
    with in_one_sentence(path):
        status = path.stat()
        mark = {"size": status.st_size, "time": status.st_mtime_ns, "digest": archive.digest}
        earlier = _stamped(stamp)
        if earlier == {**mark, "unpacked": True}:
            return
        if verify and archive.digest and earlier != {**mark, "unpacked": False}:
            check_digest(path, archive.digest)
            write_json(stamp, {**mark, "unpacked": False})
        root.mkdir(parents=True, exist_ok=True)
        survey(path, members(path), root, archive.place)
        (write or write_members)(path, members(path), root, archive.place)
        write_json(stamp, {**mark, "unpacked": True})


def _stamped(stamp: Path) -> Any:
    """What an earlier call noted, {} where it noted nothing or the note is damaged: then the archive is read again."""
    try:
        return json.loads(stamp.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}


def check_digest(path: Path, digest: str) -> None:
    """Raise UserError unless the file has the digest "NAME:HEX"."""
    name, _, expected = digest.partition(":")
    running = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as handle, _bar(path.stat().st_size, f"verifying {path.name}") as bar:
        while block := handle.read(BLOCK):
            running.update(block)
            bar.update(len(block))
    if running.hexdigest() != expected:
        raise UserError(
            f"{path} has the {name} {running.hexdigest()}, not {expected} as published: it is damaged or another "
            "version; fetch it again, or say --unverified if you trust it."
        )


@contextmanager
def in_one_sentence(path: Path) -> Iterator[None]:
    """Turn what goes wrong with an archive, or with the folder that it fills, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged or cut short ({reason}): fetch it again.") from error
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"no room is left for what {path} holds ({error.strerror}): free some and run the same command again, "
                "which goes on from there."
            ) from error
        raise UserError(
            f"{path} cannot be unpacked: {error.filename or 'a file'} ({error.strerror or error}): make way for it and "
            "run the same command again."
        ) from error


def write_members(path: Path, entries: Iterable[Member], root: Path, place: Callable[[str], str | None]) -> None:
    """Write every member that has a place.

    Args:
        path: the archive, for messages.
        entries: its members.
        root: the folder to write below.
        place: a member's name to its path below `root`, None to leave it out.
    """
    count = 0
    with _bar(None, f"unpacking {path.name}") as bar:
        for member in entries:
            target = place(member.name)
            if target is None:
                continue
            write_member(member, path_inside(root, target, path))
            bar.update(member.size)
            count += 1
    if not count:
        raise UserError(f"{path} holds nothing of what is expected in it: is it the archive of that name?")


def write_member(member: Member, target: Path) -> None:
    """Write one member, unless it is there already with its full size."""
    if target.is_file() and target.stat().st_size == member.size:
        return

    def copy(part: Path) -> None:
        """Write the member's bytes to `part`, and raise EOFError where the archive ends before them."""
        with member.open() as source, open(part, "wb") as sink:
            written = 0
            while block := source.read(BLOCK):
                written += sink.write(block)
        if written != member.size:
            raise EOFError(f"{member.name} ends after {written} of {member.size} bytes")

    write_atomically(target, copy, flush=False)  # one of perhaps a million, which the archive gives again


def _bar(total: int | None, what: str) -> tqdm[Any]:
    if not sys.stderr.isatty():
        print(what, flush=True)
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
