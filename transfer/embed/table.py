"""What is written: a row a readable image, with its name, its class and its place on a map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from transfer.features.rows import RowFile, blocks

BLOCK = 2**13  # rows in memory at once


@dataclass(frozen=True)
class Table:
    """rows (n, D) float32, perhaps on disk; names and classes of their images, "" for one without a class.

    places: (n, 2) on the map, NaN for an image that is not on it; None without a map.
    """

    rows: torch.Tensor | RowFile
    names: tuple[str, ...]
    classes: tuple[str, ...]
    places: np.ndarray | None = None

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows with where they stand, a block in memory at a time."""
        start = 0
        for block in blocks(self.rows, BLOCK):
            yield slice(start, start + len(block)), block.numpy()
            start += len(block)

    def columns(self) -> dict[str, list[str] | list[float]]:
        """What stands beside the rows, by name of the column."""
        named: dict[str, list[str] | list[float]] = {"name": list(self.names), "class": list(self.classes)}
        return (
            named if self.places is None else named | {"x": self.places[:, 0].tolist(), "y": self.places[:, 1].tolist()}
        )
