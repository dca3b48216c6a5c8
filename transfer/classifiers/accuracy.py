"""Accuracy of class scores, as a percentage: the one measure that every classification protocol reports."""

from __future__ import annotations

import torch


def hits(scores: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """(n,) bool: whether a row's label is among its k highest scores.

    Args: scores (n, classes); labels (n,) class indices. A row that is not finite counts as wrong.
    """
    return (scores.topk(k, dim=1).indices == labels[:, None]).any(1) & scores.isfinite().all(1)


def top(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Percentage of rows whose label is among their k highest scores."""
    return hits(scores, labels, k).double().mean().item() * 100


def mean_per_class(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Percentage of rows whose label has the highest score, of each class and then over those that there are."""
    hit = hits(scores, labels, 1).double()
    return torch.stack([hit[labels == label].mean() for label in torch.unique(labels)]).mean().item() * 100


def reported(classes: int) -> list[int]:
    """The k of the top-k accuracies to report: 1 and 5, without 5 where five classes or fewer leave it no meaning."""
    return [k for k in (1, 5) if k == 1 or classes > k]


def top1_top5(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """{"top1", "top5"} in percent, those of `reported`."""
    return {f"top{k}": top(scores, labels, k) for k in reported(scores.shape[1])}
