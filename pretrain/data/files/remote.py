"""A file at a URL, read by ranges through the kept blocks; and many small ones, each read whole."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, cast

import pretrain.data.files.fetch as fetch
from pretrain.data.files.base import Kept, State
from pretrain.data.files.blocks import GIB, Blocks
from pretrain.data.files.local import changed
from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import exclusive
from pretrain.runtime.urls import FIRST, Address, below, hide, split

BLOCK = 1 << 18  # bytes that are fetched at least, where they can be kept
FRESH = 600.0  # seconds after which a file that is fetched from is asked again whether it has changed


def blocks_of(kept: Kept) -> Blocks:
    """The folder of blocks that a user wants, or that the system has for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Blocks(Path(kept.folder or os.path.join(base, "unigrad", "urls")), int(kept.gib * GIB))


def remote_file(url: str, kept: Kept) -> RemoteFile:
    """The file at a URL.

    Raises:
        UserError: it is not there, cannot be reached, or can neither be read in parts nor be kept whole.
    """
    name = hide(url)
    found, blocks = fetch.about(name, FIRST), blocks_of(kept)
    if not found.parts and found.size > blocks.limit:
        raise UserError(
            f"the server of {name} gives no parts of files, and {found.size / GIB:.1f} GiB do not fit into "
            f"url_cache_gib={kept.gib:g}: raise that, or download the file."
        )
    return RemoteFile(Address(name), found, blocks)


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL. found: what its server said when it was listed, at the time `asked` of the system's clock."""

    address: Address
    found: fetch.About
    blocks: Blocks
    asked: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return self.address.name

    @property
    def path(self) -> Path:
        """The URL without its query."""
        return Path(split(self.address.name)[0])

    @property
    def key(self) -> str:
        """The folder of its blocks, another one for each version."""
        return hashlib.sha256(f"{self.address}\0{self.found.size}\0{self.found.version}".encode()).hexdigest()

    def state(self) -> State:
        """Size and version."""
        return self.found.size, self.found.version

    def open(self, ahead: int = 0) -> BinaryIO:
        """A file of Python, through a buffer of `ahead` bytes."""
        raw = _Raw(RangeReader(self))
        return cast(BinaryIO, io.BufferedReader(raw, ahead) if ahead else raw)

    def reader(self, state: State) -> RangeReader:
        """One whose server still has the file, as far as it was asked lately."""
        return RangeReader(self)


@dataclass
class RangeReader:
    """Reads a file at a URL by blocks, each fetched once as long as it is kept."""

    file: RemoteFile
    _checked: float = 0.0

    def _check(self) -> None:
        """Hold, now and then, that the server still has the file. Raises UserError."""
        if time.monotonic() - max(self._checked, self.file.asked) > FRESH:
            now = fetch.about(str(self.file), fetch.WAITS)
            if (now.size, now.version) != self.file.state():
                raise changed(str(self.file))
            self._checked = time.monotonic()

    def close(self) -> None:
        """Nothing is open."""

    def read(self, size: int, begin: int) -> bytes:
        """`size` bytes from `begin`, or fewer at the end. Raises UserError where the server gives none."""
        end = min(begin + size, self.file.found.size)
        if end <= begin:
            return b""
        if not self.file.found.parts:
            return self._of_whole(begin, end)
        wanted = {number: _within(number, begin, end) for number in range(begin // BLOCK, -(-end // BLOCK))}
        held = {number: self._kept(number, *span) for number, span in wanted.items()}
        for first, last in _runs([number for number, data in held.items() if data is None]):
            held |= self._fetched(first, last, begin, end)
        return b"".join(held[number] or b"" for number in wanted)

    def _kept(self, number: int, begin: int, end: int) -> bytes | None:
        data = self.file.blocks.get(self._name(number), end - begin, begin - number * BLOCK)
        return data if data is not None and len(data) == end - begin else None

    def _fetched(self, first: int, last: int, begin: int, end: int) -> dict[int, bytes]:
        """What is wanted of the blocks from `first` to `last`, which are kept where there is room for them."""
        self._check()
        start, stop = first * BLOCK, min((last + 1) * BLOCK, self.file.found.size)
        keep = self.file.blocks.room(stop - start)
        if not keep:
            start, stop = max(start, begin), min(stop, end)
        data, numbers = fetch.part(str(self.file), start, stop), range(first, last + 1)
        if keep:
            self.file.blocks.put(
                {self._name(at): data[at * BLOCK - start : (at + 1) * BLOCK - start] for at in numbers}
            )
        spans = {at: _within(at, begin, end) for at in numbers}
        return {at: data[one - start : other - start] for at, (one, other) in spans.items()}

    def _name(self, number: int) -> str:
        return f"{self.file.key}/{number}"

    def _of_whole(self, begin: int, end: int) -> bytes:
        """From the file as a whole, which one process fetches and the others wait for."""
        file, name = self.file, f"{self.file.key}/whole"
        if (data := file.blocks.get(name, end - begin, begin)) is not None and len(data) == end - begin:
            return data
        path = file.blocks.folder / name
        try:
            with exclusive(path.with_suffix(".lock"), lambda _: inf):
                if not path.is_file():
                    self._download(name, path)
            data = file.blocks.get(name, end - begin, begin)
        except OSError as error:
            raise UserError(
                f"{file} cannot be kept in {file.blocks.folder} ({error.strerror}), and its server gives no parts of "
                "it: make room there, or name another folder with url_cache."
            ) from error
        return data or b""

    def _download(self, name: str, path: Path) -> None:
        file = self.file
        draft = file.blocks.claim(name, file.found.size)
        if draft is None:
            raise UserError(
                f"{file.blocks.folder} is full of what runs read, and the server of {file} gives no parts of it: raise "
                "url_cache_gib."
            )
        try:
            fetch.download(str(file), file.found.size, draft)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def _within(number: int, begin: int, end: int) -> tuple[int, int]:
    """The part of a stretch that lies in a block."""
    return max(begin, number * BLOCK), min(end, (number + 1) * BLOCK)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers, which are sorted."""
    first = 0
    for place, number in enumerate(numbers):
        if place + 1 == len(numbers) or numbers[place + 1] != number + 1:
            yield numbers[first], number
            first = place + 1


class _Raw(io.RawIOBase):
    """A reader with a position, as Python's libraries ask for."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._reader.file.found.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, into: Any) -> int:
        """Fill a buffer from where the file stands, and say how many bytes came; 0 at its end."""
        view = memoryview(into)
        data = self._reader.read(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@dataclass(frozen=True)
class RemoteFolder:
    """Files below a URL, each read whole. version: of the list that names them, with which they are kept."""

    address: Address
    version: str
    blocks: Blocks

    def url(self, name: str) -> str:
        """That of one file; a query of the folder's is that of each file."""
        return below(self.address.name, name)

    def read(self, name: str, waits: tuple[float, ...]) -> bytes:
        """All bytes of a file.

        Args: waits, as of `fetch.about`.

        Raises:
            UserError: as of there; fetch.Missing where the file is not there.
        """
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        key = hashlib.sha256(f"{self.address}\0{self.version}".encode()).hexdigest()
        block = f"{key}/{digest[:2]}/{digest}"
        data = self.blocks.get(block)
        if data is None:
            data = fetch.whole(self.url(name), waits)
            self.blocks.put({block: data})
        return data
