"""What a file is, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

State = tuple[int, int] | tuple[int, str] | None  # size in bytes, and when or as what it was written


class Kept(NamedTuple):
    """Where what URLs give is kept, "" for the system's folder for caches, and how many GiB of it at most."""

    folder: str = ""
    gib: float = 0.0


class FileReader(Protocol):
    """A file that this process has open."""

    def read(self, size: int, begin: int) -> bytes:
        """`size` bytes from `begin`, or fewer at the end. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""


class File(Protocol):
    """A file; its text is its name for people, without secrets. It can be sent to another process."""

    @property
    def path(self) -> Path:
        """Where it lies, for the names of what is in it; that of a URL does not exist."""

    def state(self) -> State:
        """What changes where its bytes do, asked anew; None where it is missing."""

    def open(self, ahead: int = 0) -> BinaryIO:
        """From its beginning. Args: ahead, bytes that are worth reading at once where one of them is asked for."""

    def reader(self, state: State) -> FileReader:
        """For reading at any place. Args: state, that it has to have. Raises UserError where it has another."""
