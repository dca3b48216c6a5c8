"""A file of the file system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pretrain.data.files.base import State
from pretrain.runtime.errors import UserError


def state_of(path: str | Path) -> tuple[int, int] | None:
    """Size in bytes and modification time in nanoseconds; None where the file is missing, told when it is read."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class LocalFile:
    """A file at a path."""

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.name)

    def state(self) -> State:
        """Size and time."""
        return state_of(self.name)

    def open(self, ahead: int = 0) -> BinaryIO:
        """The system reads ahead by itself."""
        return open(self.name, "rb")

    def reader(self, state: State) -> Descriptor:
        """A descriptor; positions are told with each read, so forked processes may share it."""
        handle = os.open(self.name, os.O_RDONLY)
        status = os.fstat(handle)
        if (status.st_size, status.st_mtime_ns) != state:
            os.close(handle)
            raise changed(self.name)
        return Descriptor(handle)


@dataclass(frozen=True)
class Descriptor:
    """An open file."""

    handle: int

    def read(self, size: int, begin: int) -> bytes:
        """`size` bytes from `begin`, or fewer at the end; one call of the system may give only a part of them."""
        data = os.pread(self.handle, size, begin)
        while len(data) < size and (more := os.pread(self.handle, size - len(data), begin + len(data))):
            data += more
        return data

    def close(self) -> None:
        """Close it."""
        os.close(self.handle)


def changed(name: str) -> UserError:
    """What to raise where a file is no longer what was listed."""
    return UserError(f"{name} has changed since it was listed: start again, which lists it anew.")
