"""alpha-ReQ (Agrawal et al., NeurIPS 2022): how fast the spectrum of the features' covariance decays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import torch

    from transfer.features.rows import RowFile

NAME = "alpha-ReQ"
FIRST, LAST = 11, 100  # places of the eigenvalues that are fitted, as Stringer et al. (2019) take them
FEWEST = 10  # eigenvalues to fit; where the spectrum is shorter than that beyond FIRST, it is fitted from its first one


def alpha(rows: torch.Tensor | RowFile, device: torch.device | None = None) -> float:
    """α of λ_j ∝ j^-α: the slope of log λ_j over log j, each place weighted by 1 / j, of rows (n, D).

    λ_j are the eigenvalues of the covariance of the rows, largest first. Agrawal et al. find features with α near 1 to
    transfer best: much below it the spectrum is nearly flat, much above it few directions hold all.

    Args: rows, (n, D); device, where the covariance is computed, None for where the rows are.

    Returns: NaN where fewer than two eigenvalues are above the rounding of the largest one.
    """
    import torch

    values = torch.linalg.eigvalsh(covariance(rows, device)).flip(0)
    rank = int((values > values[0] * len(values) * torch.finfo(torch.float32).eps).sum())
    first = FIRST if rank >= FIRST + FEWEST else 1
    places = torch.arange(first, min(rank, LAST) + 1, dtype=torch.float64, device=values.device)
    if len(places) < 2:
        return float("nan")
    x, y, weights = places.log(), values[first - 1 : min(rank, LAST)].log(), 1 / places
    x, y = (one - (weights * one).sum() / weights.sum() for one in (x, y))
    return -float((weights * x * y).sum() / (weights * x * x).sum())


def covariance(rows: torch.Tensor | RowFile, device: torch.device | None) -> torch.Tensor:
    """(D, D) in float64, of rows (n, D) that need not be in memory."""
    import torch

    from transfer.features.on_device import to_device
    from transfer.features.rows import blocks

    width = rows.shape[1]
    sums = torch.zeros(width, dtype=torch.float64, device=device)
    for block in blocks(rows, 2**13):
        sums += to_device(block, device).double().sum(0)
    found = torch.zeros(width, width, dtype=torch.float64, device=device)
    for block in blocks(rows, 2**13):
        centred = to_device(block, device).double() - sums / len(rows)
        found += centred.T @ centred
    return found / max(1, len(rows) - 1)


def decay(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """Of val's features."""
    yield NAME, alpha(frozen.val.rows, frozen.device)


READING = Reading(
    "alpha_req",
    "alpha-ReQ: the power by which the spectrum of val's rows decays; near 1 is best",
    decay,
    units={NAME: "(a power)"},
    order=41,
)
