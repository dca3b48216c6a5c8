"""Sums that several losses are made of, written out."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

Rows = torch.Tensor
Oracle = Callable[[Rows, Rows, list[Rows], SimpleNamespace], Rows]


def halves(half: Callable[[int], Rows]) -> Rows:
    return (half(0) + half(1)) / 2


def cosine(a: Rows, b: Rows) -> Rows:
    return (a * b).sum() / ((a * a).sum() ** 0.5 * (b * b).sum() ** 0.5)


def remembered_samples(batches: list[Rows], rho: float) -> list[tuple[float, Rows]]:
    """[(ρ_v, v)] of a moving average over `batches` (each (M, C)) that starts as a copy of the first one."""
    weighted: list[tuple[float, Rows]] = []
    for position, batch in enumerate(batches):
        kept = 1.0 if position == 0 else rho
        new = 1.0 if position == 0 else 1 - rho
        weighted = [(weight * kept, sample) for weight, sample in weighted] if position else []
        weighted += [(new / len(batch), sample) for sample in batch]
    return weighted


def all_samples(history: list[Rows], rho: float) -> list[tuple[float, Rows]]:
    """V_inf from the target rows of both views."""
    return remembered_samples([targets.flatten(0, 1) for targets in history], rho)


def cross_correlation(v1: Rows, v2: Rows) -> Rows:
    """W = (1/N) Σ v1 v2^T (Eq. 8)."""
    return sum(torch.outer(a, b) for a, b in zip(v1, v2, strict=True)) / len(v1)
