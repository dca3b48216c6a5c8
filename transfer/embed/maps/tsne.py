"""t-SNE (van der Maaten and Hinton, 2008), by scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer.embed.maps import Map

if TYPE_CHECKING:
    import numpy as np


def place(rows: np.ndarray, seed: int) -> np.ndarray:
    """Places of rows; the perplexity is the reading's of the same name."""
    from sklearn.manifold import TSNE

    from transfer.analysis.tsne import PERPLEXITY

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    found: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return found


MAP = Map("tsne", "t-SNE, by scikit-learn", place, needs={"sklearn": "scikit-learn"})
