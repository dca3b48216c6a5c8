"""VICReg, and row j (Eq. 10)."""

from __future__ import annotations

import torch

from helpers.oracles.explicit import cross_correlation, halves


def vicreg(rows, targets, history, settings):
    """Eq. 10, with λ1 = λ C (N-1)² / (2 N²) as Eq. 11 relates them."""

    def half(k):
        v, other = rows[k], targets[1 - k]
        n, c = v.shape
        invariance = sum(((a - b) ** 2).sum() for a, b in zip(v, other, strict=True)) / n
        mean = v.mean(0)
        covariance = sum(torch.outer(a - mean, a - mean) for a in v) / (n - 1)
        first = settings.balance * c * (n - 1) ** 2 / (2 * n**2)
        off = sum(covariance[i, j] ** 2 for i in range(c) for j in range(c) if i != j)
        hinge = sum((settings.gamma - covariance[i, i] ** 0.5).clamp(min=0) for i in range(c))
        return invariance + first / c * off + settings.variance / c * hinge

    return halves(half)


def vicreg_l2(rows, targets, history, settings):
    """Eq. 10 on unit rows: -2 cos for the distance, the uncentred correlation squared for W', no deviation term."""

    def half(k):
        attraction = sum(-2 * (a * b).sum() for a, b in zip(rows[k], targets[1 - k], strict=True)) / len(rows[k])
        return attraction + settings.balance / 2 * (cross_correlation(rows[k], rows[k]) ** 2).sum()

    return halves(half)


ORACLES = {"vicreg": vicreg, "vicreg_l2": vicreg_l2}
