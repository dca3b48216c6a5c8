"""The files of torch.save, of all ages, and of TorchScript: pickles with the bytes of tensors beside or behind them."""

from __future__ import annotations

import io
import mmap
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from pretrain.weights.pickles.objects import Inert, Piece, Storage, StoredTensor, flattened
from pretrain.weights.pickles.unpickle import load_data

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch.save before torch 1.6
GROWTH = 8  # times its own size to which a file may unpack; torch.save does not compress
SMALL = 64 << 20  # bytes to which any file may unpack
LONGS = ("LONG", "LONG1", "LONG4")  # operations that push a large number


def read_zip(path: Path) -> Any:
    """The content of a file of torch.save or TorchScript; of the latter, its tensors by name.

    The CRC of every member that is read is compared, where the file has them.

    Raises:
        ValueError, zipfile.BadZipFile, ...: it is damaged, holds no checkpoint, or unpacks to far more than its size.
        Named: as `load_data`.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        _check_sizes(path, members)
        if not any(member.CRC for member in members.values()):
            for member in members.values():
                del member.CRC  # torch.save can leave them out, and writes 0 for each; zipfile then compares none
        roots = [name.removesuffix("data.pkl") for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1:
            raise ValueError(f"a zip file with {len(roots)} members data.pkl, where a checkpoint has one")
        reader = _Members(archive, members, roots[0])
        if f"{roots[0]}byteorder" in members and bytes(reader.read("byteorder")) != b"little":
            raise ValueError("numbers in big-endian order")
        content = load_data(io.BytesIO(reader.read("data.pkl")), reader.piece)
    if f"{roots[0]}constants.pkl" in members and isinstance(content, Inert):
        return flattened(content)
    return content


def _check_sizes(path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    unpacked, size = sum(member.file_size for member in members.values()), path.stat().st_size
    if unpacked > max(SMALL, GROWTH * size):
        raise ValueError(f"{size:,} bytes that unpack to {unpacked:,}")


class _Members:
    """The members of a zip file below a folder, each storage read once."""

    def __init__(self, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], root: str) -> None:
        self.archive, self.members, self.root = archive, members, root
        self.storages: dict[str, Storage] = {}

    def read(self, name: str) -> bytearray:
        """A member's bytes, whose CRC zipfile compares at their end."""
        member = self.members.get(f"{self.root}{name}")
        if member is None:
            raise ValueError(f"a zip file without the member {name[:40]}")
        data = bytearray(self.archive.read(member))
        if len(data) != member.file_size:
            raise ValueError(f"the member {name[:40]} is cut short")
        return data

    def piece(self, identity: Any) -> Piece:
        """The storage that a pickle names as ("storage", type, key, device, count)."""
        dtype, key, count, _ = described(identity)
        storage = self.storages.get(key)
        if storage is None:
            data = self.read(f"data/{key}")
            storage = self.storages[key] = Storage(len(data), data)
        if count * width(dtype) > storage.size:
            raise ValueError(f"storage {key[:20]} has {storage.size} bytes of {count} numbers")
        return Piece(storage, dtype)


def described(identity: Any) -> tuple[torch.dtype | None, str, int, Any]:
    """(dtype, key, count of numbers, view) of a storage as pickles of torch.save name it.

    Raises:
        ValueError: it is named otherwise, as the protocol 0 does, which torch cannot read either.
    """
    if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] in ("storage", b"storage")):
        raise ValueError("tensors whose storages are not named as torch.save names them (pickle protocol 0 does that)")
    _, kind, key, _, count, *view = identity
    if not (isinstance(kind, Piece) and isinstance(count, int) and count >= 0):
        raise ValueError("a storage of no known type")
    return kind.dtype, str(key), count, view[0] if view else None


def width(dtype: torch.dtype | None) -> int:
    """Bytes of a number; those of a storage without type are its numbers."""
    return dtype.itemsize if dtype else 1


def is_legacy(path: Path) -> bool:
    """Whether a file begins with the number that torch.save wrote before torch 1.6, under any pickle protocol."""
    with open(path, "rb") as handle:
        start = io.BytesIO(handle.read(64))
    try:
        numbers = [argument for operation, argument, _ in pickletools.genops(start) if operation.name in LONGS]
    except ValueError:
        return False
    return numbers == [MAGIC]


def read_legacy(path: Path) -> Any:
    """The content of a file of torch.save before torch 1.6; the format has no checksums.

    Raises:
        ValueError, ...: it is damaged or cut short.
        Named: as `load_data`.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as handle:
        storages: dict[str, Storage] = {}
        widths: dict[str, int] = {}

        def piece(identity: Any) -> Piece:
            """The part of a storage that a tensor of this persistent id shows; its bytes follow the pickles."""
            dtype, key, count, view = described(identity)
            storage = storages.setdefault(key, Storage(count * width(dtype)))
            widths.setdefault(key, width(dtype))
            start = view[1] * width(dtype) if isinstance(view, tuple) else 0
            return Piece(storage, dtype, start)

        load_data(handle), load_data(handle)  # the magic number and the version
        system = load_data(handle)
        if not (isinstance(system, dict) and system.get("little_endian", True)):
            raise ValueError("numbers in big-endian order")
        content = load_data(handle, piece)
        for key in map(str, load_data(handle)):
            (count,) = struct.unpack("<q", handle.read(8))
            size = storages[key].size
            if count * widths[key] != size or not 0 <= size <= len(handle) - handle.tell():
                raise ValueError(f"storage {key[:20]} is cut short")
            storages[key].data = bytearray(handle.read(size))
    if any(storage.data is None and storage.size for storage in storages.values()):
        raise ValueError("a storage has no bytes")
    return content


def is_tensor(content: Any) -> bool:
    """Whether a file holds a tensor alone."""
    return isinstance(content, (StoredTensor, torch.Tensor))
