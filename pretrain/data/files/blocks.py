"""A folder of bounded size for what was read from URLs, shared by all processes of a machine, which ask for it at once.

FOLDER/KEY/...  one file a block, each whole or absent
FOLDER/ledger   how many bytes there are, and when the folder was last found full of what is in use

A block that a run has read since it began is not removed by that run: with a set larger than the folder, each epoch
would otherwise remove what the next one needs. What does not fit is read anew each time. To read a block is to say so
by its time, so other runs see it in use. A process that has opened a block reads it to its end, also where another one
removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.runtime.files import write_atomically
from pretrain.runtime.printable import say

LEDGER = struct.Struct("<qq")  # bytes in the folder; nanoseconds of the last search for something to remove in vain
TICK = 10**8  # nanoseconds by which the clock of a file system may be behind
PAUSE = 60 * 10**9  # nanoseconds until the next such search
PART = ".part"
LEFT = 3600 * 10**9  # nanoseconds after which a part of a file is that of a process that is gone
SPARE = 0.1  # share of the limit that is freed at once
GIB = 1 << 30


@dataclass
class Blocks:
    """folder: of the blocks. limit: bytes. since: nanoseconds; what was read later is in use."""

    folder: Path
    limit: int
    since: int = field(default_factory=lambda: time.time_ns() - TICK)
    _told: bool = field(default=False, repr=False, compare=False)
    _full_until: int = field(default=0, repr=False, compare=False)

    def get(self, name: str, size: int = -1, begin: int = 0) -> bytes | None:
        """The bytes of a block, or `size` of them from `begin`; None where it is not there."""
        try:
            with open(self.folder / name, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_mtime_ns < self.since:
                    os.utime(file.fileno())
                if size < 0:
                    return file.read()
                file.seek(begin)
                return file.read(size)
        except OSError:
            return None

    def room(self, size: int) -> bool:
        """Whether there may be room for `size` bytes; not where this process was lately refused some."""
        return size <= self.limit and not self._told and time.time_ns() >= self._full_until

    def put(self, blocks: Mapping[str, bytes]) -> None:
        """Keep blocks, where there is room once what no run reads is removed.

        A folder that cannot be written is done without, and told once.
        """
        try:
            with self._taken(sum(map(len, blocks.values()))) as there:
                for name, data in blocks.items() if there else ():
                    write_atomically(self.folder / name, functools.partial(_written, data), flush=False)
        except OSError as error:
            self._tell(error)

    def claim(self, name: str, size: int) -> Path | None:
        """A draft of `size` bytes for a file that is filled later, and then renamed to FOLDER/NAME; None without room.

        Raises:
            OSError: it cannot be made.
        """
        draft = self.folder / f"{name}.{os.getpid()}{PART}"
        with self._taken(size) as there:
            if there:
                draft.parent.mkdir(parents=True, exist_ok=True)
                draft.touch()
                os.truncate(draft, size)
        return draft if there else None

    @contextlib.contextmanager
    def _taken(self, size: int) -> Iterator[bool]:
        """Whether there is room for `size` bytes, which the body writes while no other process counts or writes."""
        if not self.room(size):
            yield False
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with _ledger(self.folder / "ledger") as ledger:
            written, now = os.pread(ledger, LEDGER.size, 0), time.time_ns()
            new = len(written) < LEDGER.size  # nobody has counted yet
            held, searched = (self._freed(size), 0) if new else LEDGER.unpack(written)
            if held + size > self.limit and now - searched > PAUSE:
                held = self._freed(size)
                searched = now if held + size > self.limit else searched
            fits = held + size <= self.limit
            self._full_until = 0 if fits else now + PAUSE
            os.pwrite(ledger, LEDGER.pack(held + size * fits, searched), 0)
            yield fits

    def _freed(self, size: int) -> int:
        """Remove the blocks whose last reading is the longest ago and before `since`; how many bytes are left."""
        found, held = [], 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name == "ledger" or name.endswith(".lock"):
                    continue
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(path)
                    held += status.st_size
                    part = name.endswith(PART)
                    if status.st_mtime_ns < (time.time_ns() - LEFT if part else self.since):
                        found.append((status.st_mtime_ns, status.st_size, path))
        found.sort(reverse=True)
        while found and held + size > self.limit * (1 - SPARE):
            _, bytes_, path = found.pop()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            held -= bytes_
        return held

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            say(
                f"note: what is read from URLs cannot be kept in {self.folder} ({error.strerror}), so it is read "
                "anew each time: make room there, or name another folder with url_cache.",
                sys.stderr,
            )


def _written(data: bytes, path: Path) -> None:
    path.write_bytes(data)


@contextlib.contextmanager
def _ledger(path: Path) -> Iterator[int]:
    """The open ledger, locked against all other processes; a file system without locks goes without."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)
