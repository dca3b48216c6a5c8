"""RankMe (Garrido et al., 2023): exp of the entropy of the features' singular values, an effective rank."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pretrain.engine.diagnostics import effective_rank
from transfer.analysis.base import Material
from transfer.features.extract import RowFile

EPSILON = 1e-7  # the paper's, added to each share


def rankme(rows: torch.Tensor | RowFile) -> float:
    """exp(-Σ p log p) with p = σ / Σσ + ε over the min(n, D) singular values of rows (n, D), 1 to their number.

    The singular values are taken from the (D, D) Gram matrix in float64, so that rows need not be in memory.
    """
    gram = sum(part.double().T @ part.double() for part in rows.split(2**13))
    return effective_rank(gram, min(rows.shape), EPSILON)


def read(material: Material) -> Iterator[tuple[str, float]]:
    """RankMe of val's features as a share of their width in percent, as every metric here is."""
    yield f"RankMe, % of {material.val.rows.shape[1]}", 100 * rankme(material.val.rows) / material.val.rows.shape[1]
