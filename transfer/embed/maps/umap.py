"""UMAP (McInnes et al., 2018), by umap-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer.embed.maps import Map

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 15  # umap-learn's own default


def place(rows: np.ndarray, seed: int) -> np.ndarray:
    """Places of rows, from their cosines."""
    import umap

    neighbours = min(NEIGHBOURS, len(rows) - 1)
    made = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    found: np.ndarray = made.fit_transform(rows)
    return found


MAP = Map("umap", "UMAP, by umap-learn", place, needs={"umap": "umap-learn"})
