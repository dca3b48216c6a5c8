"""A packed image set: all files of a folder in one blob, and an index of where each begins.

FOLDER/images.blob  the files' bytes, one after the other
FOLDER/index.npz    header (JSON: format, classes, how it was made, what was skipped), names (joined by NUL), labels
                    (-1 in a flat set), offsets (N + 1), checksums (CRC-32 of each)
The index is written last: a folder without it is no packed set.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.compact import Strings
from pretrain.data.decode import UnreadableImage
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from pretrain.runtime.printable import printable, shortened

BLOB, INDEX, FORMAT = "images.blob", "index.npz", "unigrad-packed-1"
OUTSIDE = re.compile(r"/|$|(.*/)?\.\.(/|$)", re.DOTALL)  # how a name begins that is no path below the set
COLUMNS = ("header", "names", "labels", "offsets", "checksums")


@dataclass
class PackedSet:
    """An index, and the blob mapped into memory by each process that reads from it.

    header: see write_index. names: paths below the packed root, POSIX. labels (N,) int32, offsets (N + 1,) int64,
    checksums (N,) uint32.
    """

    root: Path
    header: dict[str, Any]
    names: Strings
    labels: np.ndarray
    offsets: np.ndarray
    checksums: np.ndarray
    _map: mmap.mmap | None = field(default=None, repr=False, compare=False)

    def fingerprint(self, place: int) -> int:
        """CRC-32 of one file."""
        return int(self.checksums[place])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None}  # a worker that is not forked maps the blob itself

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one file.

        Raises:
            UnreadableImage: they are not those that were packed.
        """
        if self._map is None:
            with open(self.root / BLOB, "rb") as blob:
                self._map = mmap.mmap(blob.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._map[self.offsets[place] : self.offsets[place + 1]]
        if zlib.crc32(data) != self.checksums[place]:
            name = printable(str(self.root / self.names[place]))
            raise UnreadableImage(f"{name} (its bytes in {BLOB} have changed since packing)")
        return data


def is_packed(root: Path) -> bool:
    """Whether `root` holds a packed set."""
    return os.path.isfile(root / INDEX) and os.path.isfile(root / BLOB)  # also where this user may not look


def write_index(
    root: Path, header: dict[str, Any], names: list[str], labels: Any, offsets: Any, checksums: Any
) -> None:
    """Write the index of a packed set next to its blob, atomically.

    Args:
        root: the packed set's folder.
        header: what JSON can hold about the set; "classes" is needed, and is empty for a flat set.
        names: N paths of the images below the folder that was packed, POSIX.
        labels: (N,) class indices; -1 in a flat set.
        offsets: (N + 1,) positions in the blob, in bytes: where each image begins, and the end.
        checksums: (N,) CRC-32 of each image's bytes.
    """
    text = json.dumps({"format": FORMAT, **header}).encode()
    columns: dict[str, Any] = {
        "header": np.frombuffer(text, np.uint8),
        "names": np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), np.uint8),
        "labels": np.asarray(labels, np.int32),
        "offsets": np.asarray(offsets, np.int64),
        "checksums": np.asarray(checksums, np.uint32),
    }

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, **columns)

    write_atomically(root / INDEX, write)


def _names_in(data: np.ndarray) -> Strings:
    """Names that are joined by NUL, as `write_index` has them."""
    data = np.frombuffer(data.tobytes(), np.uint8)  # whatever a damaged index holds
    gaps = np.flatnonzero(data == 0)
    return Strings(data, np.append(0, gaps + 1), np.append(gaps, len(data)), "surrogateescape")


def open_packed(root: Path) -> PackedSet:
    """Read the index; the blob is mapped when the first image is read.

    Raises:
        UserError: the index is damaged or of another version, or the blob is not as long as it says.
    """
    index = root / INDEX
    try:
        columns = _columns(index.read_bytes())
        header = json.loads(columns["header"].tobytes())
        names = _names_in(columns["names"])
        found = PackedSet(root, header, names, columns["labels"], columns["offsets"], columns["checksums"])
        if header["format"] != FORMAT:
            told = shortened(header["format"])
            raise UserError(f"{index} is of format {told}, not {FORMAT}: pack the images again.")
        _check(found)
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy raise many types for damaged bytes; each means the same to the user
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, 200)
        raise UserError(f"{index} cannot be read ({reason}): pack the images again.") from error
    length = (root / BLOB).stat().st_size
    if length != found.offsets[-1]:
        raise UserError(
            f"{root / BLOB} has {length} bytes where its index counts {found.offsets[-1]}: copy it "
            "again from its source, or pack the images again."
        )
    return found


def _columns(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an index, of which none is larger than the file.

    Raises:
        ValueError, zipfile.BadZipFile, ...: it is damaged, or not as `write_index` writes it.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed, as no index is")
        if archive.testzip() is not None:  # NumPy would not compare the checksum of an array that it reads in part
            raise ValueError("damaged")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in COLUMNS}


def _check(found: PackedSet) -> None:
    """Hold that the parts of an index fit together.

    Raises:
        ValueError, KeyError, TypeError: they do not.
    """
    count, classes, labels = len(found.names), found.header["classes"], found.labels
    fits = {
        "names": not any(map(OUTSIDE.match, found.names)) and len(set(found.names)) == count,
        "classes": isinstance(classes, list) and all(isinstance(name, str) for name in classes),
        "labels": _whole(labels, count) and bool(((labels >= 0) & (labels < len(classes)) | (not classes)).all()),
        "offsets": _whole(found.offsets, count + 1)
        and found.offsets[0] == 0
        and bool((found.offsets[1:] >= found.offsets[:-1]).all()),
        "checksums": _whole(found.checksums, count),
    }
    if wrong := [name for name, holds in fits.items() if not holds]:
        raise ValueError(f"its {' and '.join(wrong)} do not fit")


def _whole(column: np.ndarray, count: int) -> bool:
    """Whether a column holds `count` whole numbers."""
    return column.shape == (count,) and column.dtype.kind in "iu"
