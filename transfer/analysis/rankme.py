"""RankMe (Garrido et al., 2023): exp of the entropy of the features' singular values, an effective rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import torch

    from transfer.features.rows import RowFile

EPSILON = 1e-7  # the paper's, added to each share


def rankme(rows: torch.Tensor | RowFile, device: torch.device | None = None) -> float:
    """exp(-Σ p log p) with p = σ / Σσ + ε over the min(n, D) singular values of rows (n, D), 1 to their number.

    The singular values are taken from the (D, D) Gram matrix in float64, so that rows need not be in memory.

    Args: rows, (n, D); device, where the matrix is computed, None for where the rows are.
    """
    import torch

    from pretrain.engine.monitor.diagnostics import effective_rank
    from transfer.features.on_device import to_device
    from transfer.features.rows import blocks

    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=device)
    for block in (to_device(block, device) for block in blocks(rows, 2**13)):
        gram += block.double().T @ block.double()
    return effective_rank(gram, min(rows.shape), EPSILON)


def effective_rank_share(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """RankMe of val's features as a share of their width in percent, as every metric here is."""
    width = frozen.val.rows.shape[1]
    yield f"RankMe, % of {width}", 100 * rankme(frozen.val.rows, frozen.device) / width


READING = Reading("rankme", "effective rank of val's rows, as a share of their width", effective_rank_share, order=40)
