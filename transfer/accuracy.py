"""Accuracy of class scores, as a percentage: the one measure that every classification protocol reports."""

from __future__ import annotations

import torch


def top(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Percentage of rows whose label is among their k highest scores.

    Args: scores (n, classes); labels (n,) class indices. A row that is not finite counts as wrong.
    """
    found = (scores.topk(k, dim=1).indices == labels[:, None]).any(1) & scores.isfinite().all(1)
    return found.double().mean().item() * 100


def top1_top5(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """{"top1", "top5"} in percent; without "top5" where there are five classes or fewer, as it would say nothing."""
    return {f"top{k}": top(scores, labels, k) for k in (1, 5) if k == 1 or scores.shape[1] > k}
