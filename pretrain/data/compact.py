"""Long lists of paths, names and whole numbers as a few arrays each, read like the tuples that they stand for.

An object of its own for each of a million images is much memory. It is also copied into every loading worker: to read
an object is to count one more reference to it, which dirties the page that a forked worker shares with its parent.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

T = TypeVar("T")


class Ints(Sequence[int]):
    """Whole numbers of 32 bits."""

    def __init__(self, values: Iterable[int] | np.ndarray) -> None:
        self.array = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.int32)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Ints: ...
    def __getitem__(self, index: int | slice) -> int | Ints:
        return Ints(self.array[index]) if isinstance(index, slice) else int(self.array[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def select(self, indices: Sequence[int]) -> Ints:
        """The numbers at `indices`, in their order."""
        return Ints(self.array[places(indices)])


class Strings(Sequence[str]):
    """Strings, each a stretch of one array of bytes.

    Args:
        data: (B,) uint8, the strings in UTF-8.
        starts, ends: (N,) where each of the N strings begins and ends in it.
        errors: how surrogates are encoded, as of `str.encode`.
    """

    def __init__(self, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, errors: str = "surrogatepass") -> None:
        self.data, self.starts, self.ends, self.errors = data, starts, ends, errors

    @classmethod
    def of(cls, values: Iterable[str]) -> Strings:
        """Any strings, also those that name files which are not UTF-8."""
        growing = Growing()
        growing.add(values if isinstance(values, list) else list(values))
        return growing.strings()

    @classmethod
    def laid_out(cls, data: np.ndarray, lengths: np.ndarray) -> Strings:
        """One after the other. Args: data (B,) uint8, of all. lengths (N,), in bytes."""
        offsets = np.zeros(len(lengths) + 1, np.uint32 if len(data) < 1 << 32 else np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(data, offsets[:-1], offsets[1:])

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Strings: ...
    def __getitem__(self, index: int | slice) -> str | Strings:
        if isinstance(index, slice):
            return Strings(self.data, self.starts[index], self.ends[index], self.errors)
        return self.data[self.starts[index] : self.ends[index]].tobytes().decode("utf-8", self.errors)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def select(self, indices: Sequence[int]) -> Strings:
        """The strings at `indices`, in their order; their bytes stay where they are."""
        at = places(indices)
        return Strings(self.data, self.starts[at], self.ends[at], self.errors)


class Growing:
    """Strings while they are collected, in two buffers that grow.

    Many small arrays would leave as many gaps in this process's memory once they are joined.
    """

    def __init__(self) -> None:
        self._data, self._lengths = bytearray(), array("I")

    def add(self, texts: list[str]) -> range:
        """Add some; the places that they have now."""
        joined, before = "".join(texts), len(self._lengths)
        data = joined.encode("utf-8", "surrogatepass")
        several = len(data) > len(joined)  # some letters take several bytes
        self._data += data
        self._lengths.extend(
            (len(text.encode("utf-8", "surrogatepass")) for text in texts) if several else map(len, texts)
        )
        return range(before, len(self._lengths))

    def strings(self, parts: Sequence[range] | None = None) -> Strings:
        """All of them, or those at some stretches of places, one after the other."""
        data, lengths = np.frombuffer(self._data, np.uint8), np.frombuffer(self._lengths, np.uint32)
        stretches = [part for part in parts or () if part]
        follow = all(one.stop == other.start for one, other in itertools.pairwise(stretches))
        if parts is None or (follow and sum(map(len, stretches)) == len(lengths)):
            return Strings.laid_out(data, lengths)
        ends = np.cumsum(np.append(0, lengths), dtype=np.int64)
        found = Growing()
        for part in stretches:
            found._data += data[ends[part.start] : ends[part.stop]].tobytes()
            found._lengths.extend(lengths[part.start : part.stop].tolist())
        return found.strings()


class Paths(Sequence[Path]):
    """Paths of files that lie in few folders.

    Args:
        folders: F of them.
        folder_of: (N,) the folder of each file.
        names: N names, each below its folder.
    """

    def __init__(self, folders: tuple[str, ...], folder_of: np.ndarray, names: Strings) -> None:
        self.folders, self.folder_of, self.names = folders, folder_of, names

    @classmethod
    def below(cls, root: Path, names: Strings) -> Paths:
        """All in one folder."""
        return cls((str(root),), np.broadcast_to(np.int32(0), len(names)), names)

    @classmethod
    def listed(cls, listing: Sequence[tuple[str, Sequence[str]]]) -> Paths:
        """Folder by folder. Args: listing, each folder and the names of its files."""
        growing = Growing()
        return cls.grown([(folder, growing.add(list(names))) for folder, names in listing], growing)

    @classmethod
    def grown(cls, listing: Sequence[tuple[str, range]], names: Growing) -> Paths:
        """Folder by folder. Args: listing, each folder and which of the names are those of its files. names: of all."""
        folder_of = np.repeat(np.arange(len(listing), dtype=np.int32), [len(places) for _, places in listing])
        folders = tuple(folder for folder, _ in listing)
        return cls(folders, folder_of, names.strings([places for _, places in listing]))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return Paths(self.folders, self.folder_of[index], self.names[index])
        return Path(self.folders[self.folder_of[index]], self.names[index])

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def select(self, indices: Sequence[int]) -> Paths:
        """The paths at `indices`, in their order."""
        return Paths(self.folders, self.folder_of[places(indices)], self.names.select(indices))


def taken(values: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    """The values at `indices`, in their order: of one of the lists above in arrays again, else as a tuple."""
    if isinstance(values, (Ints, Strings, Paths)):
        selected: Sequence[T] = values.select(indices)  # type: ignore[assignment]  # of the same kind as `values`
        return selected
    return tuple(values[at] for at in indices)


def places(indices: Sequence[int]) -> np.ndarray:
    """`indices` as numpy takes them, also where there are none."""
    return np.asarray(indices, np.int64)


def same(values: Sequence[object], other: object) -> bool:
    """Whether `other` is a sequence of equal values."""
    if isinstance(values, Ints) and isinstance(other, Ints):
        return np.array_equal(values.array, other.array)
    if not isinstance(other, Sequence) or isinstance(other, str):
        return False
    return len(values) == len(other) and all(one == another for one, another in zip(values, other, strict=True))
