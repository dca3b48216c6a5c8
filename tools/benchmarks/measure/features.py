"""Random features, for tasks that time what is done with frozen features."""

from __future__ import annotations

from collections.abc import Iterator

import torch

BLOCK = 2**14  # rows drawn at once


def random_features(rows: int, width: int, seed: int) -> Iterator[torch.Tensor]:
    """Random rows (rows, width), BLOCK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, rows, BLOCK):
        yield torch.randn(min(BLOCK, rows - start), width, generator=generator)
