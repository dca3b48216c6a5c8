"""Arrays inside NumPy files, .npy and .npz, found by their heads alone and mapped into memory."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from pretrain.data.archives.store import LOCAL


@dataclass(frozen=True)
class Column:
    """An array inside a file: where it begins, what it is; nothing of it is read."""

    file: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    fortran: bool

    def mapped(self) -> np.ndarray:
        """The array, mapped."""
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        found: np.ndarray = np.memmap(
            self.file, dtype=np.dtype(self.dtype), mode="r", offset=self.offset, shape=self.shape, order=order
        )
        return found


def columns_of(path: Path) -> dict[str, Column]:
    """The arrays of a file by name; that of an .npy has none. Those that are compressed have offset -1.

    Raises:
        OSError, ValueError, zipfile.BadZipFile, struct.error: it cannot be read or is damaged.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            return {"": _column(file, path, 0)}
    with zipfile.ZipFile(path) as archive:
        columns = {}
        for member in archive.infolist():
            with archive.open(member) as opened:
                column = _column(opened, path, -1)
            if member.compress_type == zipfile.ZIP_STORED:
                with open(path, "rb") as file:
                    file.seek(member.header_offset)
                    _, name, extra = LOCAL.unpack(file.read(LOCAL.size))
                    file.seek(name + extra, 1)
                    column = _column(file, path, 0)
            columns[member.filename.removesuffix(".npy")] = column
        return columns


def _column(file: IO[bytes], path: Path, offset: int) -> Column:
    """Read the head of an array. Args: offset, 0 where its bytes follow the head in the file, -1 where they do not."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        return Column(str(path), -1, shape, "object", fortran)
    begin = file.tell() if offset == 0 else -1
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if begin >= 0 and begin + size > os.stat(path).st_size:
        raise ValueError("cut short")
    return Column(str(path), begin, shape, dtype.str, fortran)
