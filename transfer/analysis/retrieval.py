"""Retrieval: how far images of the same class come first when train is ranked by cosine to an image of val."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from transfer.analysis.base import Material

QUERIES = 64  # ranked at once


def average_precision(relevant: torch.Tensor) -> torch.Tensor:
    """(m,) mean over the relevant places of the precision up to there, of rankings (m, n) that are true where relevant.

    0 where nothing is relevant.
    """
    hits = relevant.cumsum(1)
    precision = hits / torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    return (precision * relevant).sum(1, dtype=torch.float64) / hits[:, -1].clamp(min=1)


def read(material: Material) -> Iterator[tuple[str, float]]:
    """Mean average precision over at most `images` queries of val, in all of train."""
    chosen, found = material.evenly(material.images), []
    labels = material.train.labels.to(material.device)
    for part in chosen.split(QUERIES):
        queries = functional.normalize(material.val.rows[part].to(material.device), dim=1)
        blocks = material.train.rows.split(2**14)
        cosines = torch.cat(
            [queries @ functional.normalize(block.to(material.device), dim=1).T for block in blocks], dim=1
        )
        ranked = labels[cosines.argsort(1, descending=True)]
        found.append(average_precision(ranked == material.val.labels[part].to(material.device)[:, None]).cpu())
    yield f"retrieval mAP, {len(chosen)} queries", torch.cat(found).mean().item() * 100
