"""The files in a tar or zip that comes from elsewhere, read with a bound on time and memory, and what they would fill.

Both formats state sizes that need not be true: two megabytes unpack to two gigabytes, a sparse member of a few bytes is
a terabyte long, and the name of a member may be longer than the memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import printable, shortened

RATIO, SMALL = 50, 16 << 20  # an archive may hold so many times its own bytes, and so many more; images hold about one
MOST_AT_ONCE = 4 << 20  # bytes of one read: headers are far shorter
ZIP = (b"PK\3\4", b"PK\5\6", b"PK\7\10")
OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda handle: gzip.GzipFile(fileobj=handle),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
FILE_TYPES = (0, 0o10)  # of a zip's member where it was made on Unix: not said, a regular file


@dataclass(frozen=True)
class Member:
    """A regular file of an archive. size: as stated; `open` gives no more bytes than that."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


class Bounded(io.RawIOBase):
    """A readable file of which no single read and no position exceeds a bound.

    Args: most: the farthest position in bytes.
    """

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source, self._most = source, most

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes.

        Raises:
            tarfile.ReadError: more are asked for than any header has.
        """
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._source.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Raises tarfile.ReadError beyond the bound."""
        if whence or not 0 <= offset <= self._most:
            raise tarfile.ReadError(f"{offset:,} bytes are stated")
        return self._source.seek(offset)

    def tell(self) -> int:
        """The position in bytes."""
        return self._source.tell()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes, which of a compressed file means reading."""
        return True


def bound_of(size: int) -> int:
    """How many bytes an archive of `size` bytes may hold."""
    return RATIO * size + SMALL


def members(path: Path, holder: IO[bytes] | None = None, size: int | None = None) -> Iterator[Member]:
    """The regular files of a tar or zip, in their order.

    Args:
        path: the archive.
        holder: the open tar, where it lies within the archive.
        size: of that tar in bytes.

    Raises:
        UserError: neither a tar nor a zip, a link or a device, which no data set needs, or a member that is encrypted,
            sparse or compressed in a way that Python does not know.
    """
    if holder is not None:
        yield from _of_tar(path, holder, size or 0)
        return
    with open(path, "rb") as handle:
        start = handle.read(512)
        handle.seek(0)
        if start.startswith(ZIP):
            yield from _of_zip(path, handle)
            return
        opener = next((opener for mark, opener in OPENERS.items() if start.startswith(mark)), None)
        if opener is None and start[257:262] != b"ustar" and not _is_old_tar(start):
            shown = printable(start[:20].decode("latin-1"))
            raise UserError(f"{path} is neither a tar nor a zip; it begins with '{shown}': fetch it again.")
        with _closed(handle if opener is None else opener(handle)) as source:
            yield from _of_tar(path, source, path.stat().st_size)


def _is_old_tar(start: bytes) -> bool:
    """Whether a block without the mark of POSIX is a header of the oldest tars, which its checksum tells."""
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def _closed(source: Any) -> Iterator[Any]:
    try:
        yield source
    finally:
        source.close()


def _of_zip(path: Path, handle: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(handle) as packed:
        for entry in packed.infolist():
            shown = shortened(entry.filename, 100)
            if entry.is_dir():
                continue
            if entry.external_attr >> 28 not in FILE_TYPES:
                raise UserError(f"{path} holds the link or device {shown}: this is not the official archive.")
            if entry.flag_bits & 1:
                raise UserError(f"{path} holds the encrypted {shown}: unpack it with its password.")
            if entry.compress_type not in METHODS:
                raise UserError(
                    f"{path} holds {shown} in the compression method {entry.compress_type}, which Python does not "
                    "read: pack it again with another tool."
                )
            yield Member(entry.filename, entry.file_size, partial(packed.open, entry))


def _opened(packed: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    return packed.extractfile(entry) or io.BytesIO()


def _of_tar(path: Path, source: IO[bytes], size: int) -> Iterator[Member]:
    with tarfile.open(fileobj=Bounded(source, bound_of(size)), mode="r:") as packed:
        last = -1
        while (entry := packed.next()) is not None:
            if entry.size < 0 or entry.offset <= last:
                raise tarfile.ReadError("a member that ends before it begins")
            last = entry.offset
            packed.members.clear()  # type: ignore[attr-defined] # tarfile remembers all of them
            shown = shortened(entry.name, 100)
            if not (entry.isfile() or entry.isdir()):
                raise UserError(f"{path} holds the link or device {shown}: this is not the official archive.")
            if entry.issparse():
                raise UserError(f"{path} holds the sparse file {shown}: this is not the official archive.")
            if entry.isfile():
                yield Member(entry.name, entry.size, partial(_opened, packed, entry))


def survey(
    path: Path, entries: Iterable[Member], root: Path, place: Callable[[str], str | None], size: int | None = None
) -> None:
    """Hold everything that an archive states against what is possible, before any of it is written.

    Args:
        path: the archive.
        entries: its members.
        root: the folder that will be filled.
        place: a member's name to its path below `root`, None for what stays packed.
        size: of the archive in bytes, where it is not the file's own.

    Raises:
        UserError: a name that leads out of `root` (see `path_inside`), two files of one name, a file that is also a
            folder, or more bytes than `bound_of` or the disk allows.
    """
    most, total, missing = bound_of(path.stat().st_size if size is None else size), 0, 0
    targets: set[Path] = set()
    for member in entries:
        path_inside(root, member.name, path)
        total += member.size
        if total > most:
            raise UserError(
                f"{path} states more than {most >> 20:,} MiB of content, {RATIO} times its own size and more: this is "
                "not the official archive."
            )
        name = place(member.name)
        if name is None:
            continue
        target = path_inside(root, name, path)
        if target in targets:
            raise UserError(f"{path} holds '{printable(member.name)}' twice: this is not the official archive.")
        targets.add(target)
        missing += 0 if target.is_file() else member.size
    both = next((parent for target in targets for parent in target.parents if parent in targets), None)
    if both is not None:
        raise UserError(f"{path} holds '{both.name}' as a file and as a folder: this is not the official archive.")
    free = shutil.disk_usage(root).free
    if missing > free:
        raise UserError(
            f"no room is left for what {path} holds: {missing >> 20:,} MiB are missing, {free >> 20:,} MiB free: make "
            f"room in {root}."
        )
