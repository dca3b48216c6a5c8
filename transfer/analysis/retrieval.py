"""Retrieval: how far images of the same class come first when train is ranked by cosine to an image of val."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import torch

QUERIES = 64  # ranked at once
PASS = 512  # queries of one pass over rows that a GPU has no room for


def average_precision(relevant: torch.Tensor) -> torch.Tensor:
    """(m,) mean over the relevant ranks of the precision up to there, of rankings (m, n) that are true where relevant.

    0 where nothing is relevant.
    """
    import torch

    hits = relevant.cumsum(1)
    precision = hits / torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    return (precision * relevant).sum(1, dtype=torch.float64) / hits[:, -1].clamp(min=1)


def mean_average_precision(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """Mean average precision over at most `images` queries of val, in all of train."""
    import torch
    from torch.nn import functional

    from transfer.features.on_device import to_device

    chosen, precisions, device = frozen.evenly(frozen.images), [], frozen.device
    labels, asked = to_device(frozen.train.labels, device), to_device(frozen.val.labels[chosen], device)
    together = PASS if frozen.bank.copied_each_time else QUERIES
    for several, wanted in zip(torch.split(chosen, together), torch.split(asked, together), strict=True):
        queries = functional.normalize(to_device(frozen.val.rows[several], device), dim=1)
        train = (functional.normalize(block, dim=1) for block in frozen.bank.blocks(2**14))
        cosines = torch.cat([queries @ block.T for block in train], dim=1)
        for part, own in zip(torch.split(cosines, QUERIES), torch.split(wanted, QUERIES), strict=True):
            ranked = labels[part.argsort(1, descending=True)]
            precisions.append(average_precision(ranked == own[:, None]))
    yield f"retrieval mAP, {len(chosen)} queries", torch.cat(precisions).mean().item() * 100


READING = Reading("retrieval", "mean average precision of train ranked by cosine", mean_average_precision, order=30)
