"""Rows of features with their labels, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class RowFile:
    """(n, D) float32 rows on disk, read where they are indexed or split as a tensor would be: memory holds only that.

    path: the rows one after the other, without a header. Slices are read, not mapped, so that what was read leaves
    memory with the tensor; single rows are picked through a mapping. within: (first, width) where these rows are some
    columns of wider ones, of which the file holds `width`.
    """

    path: Path
    shape: tuple[int, int]
    within: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | torch.Tensor) -> torch.Tensor:
        if not isinstance(key, slice):
            return torch.from_numpy(self._mapped()[key.numpy()])
        start, stop, step = key.indices(len(self))
        assert step == 1, "rows are read in their order"
        count, width = max(0, stop - start), self.shape[1]
        if self.within is not None:
            return torch.from_numpy(np.array(self._mapped()[start : start + count]))
        values = np.fromfile(self.path, np.float32, count * width, offset=start * width * 4)
        return torch.from_numpy(values.reshape(count, width))

    def columns(self, first: int, width: int) -> RowFile:
        """The rows cut to `width` columns from `first` on; nothing is read."""
        assert self.within is None, "columns are taken of whole rows"
        return RowFile(self.path, (len(self), width), (first, self.shape[1]))

    def _mapped(self) -> np.ndarray:
        first, whole = self.within or (0, self.shape[1])
        mapped = np.memmap(self.path, np.float32, "r", shape=(len(self), whole))
        return mapped[:, first : first + self.shape[1]]

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Blocks of `size` rows, the last one perhaps smaller, one in memory at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


def blocks(rows: torch.Tensor | RowFile, size: int) -> Iterable[torch.Tensor]:
    """`rows` (n, D) in blocks of `size`, the last one perhaps smaller; of rows on disk one is in memory at a time."""
    return torch.split(rows, size) if isinstance(rows, torch.Tensor) else rows.split(size)


@dataclass(frozen=True)
class Features:
    """What a network gives for the readable images of one set.

    rows (n, D) float32, in memory or on disk, and labels (n,) int64, on the CPU, in the source's order; -1 where the
    images have none. names: paths relative to the source's root. skipped: one message for each unreadable file.
    seconds: of reading and of the network together.
    """

    rows: torch.Tensor | RowFile
    labels: torch.Tensor
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float


def counts_of(train: Features, val: Features) -> dict[str, int]:
    """How many images of each have rows, and how many of both could not be read."""
    return {"train": len(train.rows), "val": len(val.rows), "skipped": len(train.skipped) + len(val.skipped)}
