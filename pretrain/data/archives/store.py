"""The bytes of images inside archives, read one by one from where the index says they are."""

from __future__ import annotations

import os
import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.archives.index import DEFLATED, UNKNOWN
from pretrain.data.decode import MOST_BYTES, UnreadableImage
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable

LOCAL = struct.Struct("<4s22xHH")  # of a zip's member: signature, lengths of its name and of its extra field
OPEN_AT_ONCE = 64  # archives of a set; a process may have few files open


@dataclass
class ArchiveStore:
    """N images in F archives, which each process opens for itself.

    files: paths, with the state of each when its index was made. which (N,) int32, columns (N, 6): see Index.
    headers: whether a local header stands before the bytes, as in a zip.
    """

    files: tuple[str, ...]
    states: tuple[tuple[int, int] | None, ...]
    which: np.ndarray
    columns: np.ndarray
    headers: bool
    _handles: OrderedDict[int, int] = field(default_factory=OrderedDict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": OrderedDict()}

    def fingerprint(self, place: int) -> object:
        """CRC-32 and size where the archive knows them, else the archive's state and where in it the image lies."""
        begin, size, unpacked, _, checksum, _ = self.columns[place].tolist()
        return (unpacked, checksum) if checksum != UNKNOWN else (*(self.states[self.which[place]] or ()), begin, size)

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one image's file.

        Raises:
            UnreadableImage: they cannot be read, or do not fit the archive's checksum.
            UserError: the archive has changed since its index was made.
        """
        begin, size, unpacked, method, checksum, _ = self.columns[place].tolist()
        file = int(self.which[place])
        where = f"byte {begin} of {self.files[file]}"
        if max(size, unpacked) > MOST_BYTES:
            raise _unreadable(where, f"more than {MOST_BYTES // 10**6} million bytes")
        try:
            handle = self._handle(file)
            if self.headers:
                signature, name, extra = LOCAL.unpack(os.pread(handle, LOCAL.size, begin))
                if signature != b"PK\3\4":
                    raise _unreadable(where, "no member begins there")
                begin += LOCAL.size + name + extra
            data = _whole(handle, begin, size)
            if method == DEFLATED:
                data = zlib.decompressobj(-15).decompress(data, unpacked + 1)
        except (OSError, struct.error, zlib.error) as error:
            if isinstance(error, UnreadableImage):
                raise
            raise _unreadable(where, type(error).__name__) from error
        if len(data) != unpacked or checksum not in (UNKNOWN, zlib.crc32(data)):
            raise _unreadable(where, "cut short, or not what its checksum says")
        return data

    def _handle(self, file: int) -> int:
        """The descriptor of an archive; positions are told with each read, so forked processes may share it."""
        if file in self._handles:
            self._handles.move_to_end(file)
            return self._handles[file]
        handle = os.open(self.files[file], os.O_RDONLY)
        status = os.fstat(handle)
        if (status.st_size, status.st_mtime_ns) != self.states[file]:
            os.close(handle)
            raise UserError(f"{self.files[file]} has changed since it was listed: start again, which lists it anew.")
        self._handles[file] = handle
        if len(self._handles) > OPEN_AT_ONCE:
            os.close(self._handles.popitem(last=False)[1])
        return handle


def _whole(handle: int, begin: int, size: int) -> bytes:
    """`size` bytes from `begin`, or fewer at the end of the file; one call may give only a part of them."""
    data = os.pread(handle, size, begin)
    while len(data) < size and (more := os.pread(handle, size - len(data), begin + len(data))):
        data += more
    return data


def _unreadable(where: str, why: str) -> UnreadableImage:
    return UnreadableImage(f"{printable(where)} ({why})")


def store_of(files: list[Path], states: list[Any], which: np.ndarray, columns: np.ndarray, kind: str) -> ArchiveStore:
    """The store of indexed archives.

    Args:
        files: the archives.
        states: size and time of each.
        which: (N,) the archive of each image.
        columns: (N, 6), as of Index.
        kind: "zip" or "tar".
    """
    return ArchiveStore(tuple(map(str, files)), tuple(states), which, columns, kind == "zip")
