"""The bytes of images inside archives, read one by one from where the index says they are."""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretrain.data.archives.index import DEFLATED, UNKNOWN
from pretrain.data.decode import MOST_BYTES, UnreadableImage
from pretrain.data.files import File, FileReader, State
from pretrain.runtime.printable import printable

LOCAL = struct.Struct("<4s22xHH")  # of a zip's member: signature, lengths of its name and of its extra field
OPEN_AT_ONCE = 64  # archives of a set; a process may have few files open


@dataclass
class ArchiveStore:
    """N images in F archives, which each process opens for itself.

    files: with the state of each when its index was made. which (N,) int32, columns (N, 6): see Index.
    headers: whether a local header stands before the bytes, as in a zip.
    """

    files: tuple[File, ...]
    states: tuple[State, ...]
    which: np.ndarray
    columns: np.ndarray
    headers: bool
    _handles: OrderedDict[int, FileReader] = field(default_factory=OrderedDict, repr=False, compare=False)

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
                signature, name, extra = LOCAL.unpack(handle.read(LOCAL.size, begin))
                if signature != b"PK\3\4":
                    raise _unreadable(where, "no member begins there")
                begin += LOCAL.size + name + extra
            data = handle.read(size, begin)
            if method == DEFLATED:
                data = zlib.decompressobj(-15).decompress(data, unpacked + 1)
        except (OSError, struct.error, zlib.error) as error:
            if isinstance(error, UnreadableImage):
                raise
            raise _unreadable(where, type(error).__name__) from error
        if len(data) != unpacked or checksum not in (UNKNOWN, zlib.crc32(data)):
            raise _unreadable(where, "cut short, or not what its checksum says")
        return data

    def _handle(self, file: int) -> FileReader:
        """The open archive."""
        if file in self._handles:
            self._handles.move_to_end(file)
            return self._handles[file]
        self._handles[file] = handle = self.files[file].reader(self.states[file])
        if len(self._handles) > OPEN_AT_ONCE:
            self._handles.popitem(last=False)[1].close()
        return handle


def _unreadable(where: str, why: str) -> UnreadableImage:
    return UnreadableImage(f"{printable(where)} ({why})")


def store_of(files: Sequence[File], which: np.ndarray, columns: np.ndarray, kind: str) -> ArchiveStore:
    """The store of indexed archives.

    Args:
        files: the archives.
        which: (N,) the archive of each image.
        columns: (N, 6), as of Index.
        kind: "zip" or "tar".
    """
    return ArchiveStore(tuple(files), tuple(file.state() for file in files), which, columns, kind == "zip")
