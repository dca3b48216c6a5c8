"""Barlow Twins (Eq. 8), and what has the gradient of rows g and h."""

from __future__ import annotations

from helpers.oracles.explicit import cross_correlation, halves


def barlow_twins(rows, targets, history, settings):
    """Eq. 8: Σ_i (W_ii - 1)² + λ Σ_i Σ_{j≠i} W_ij²."""

    def half(k):
        w = cross_correlation(rows[k], targets[1 - k])
        diagonal = sum((w[i, i] - 1) ** 2 for i in range(len(w)))
        return diagonal + settings.balance * sum(w[i, j] ** 2 for i in range(len(w)) for j in range(len(w)) if i != j)

    return halves(half)


def barlow_twins_identity(rows, targets, history, settings):
    """What has Eq. 12's gradient: Eq. 8 with (W_ii - 1)² made linear, -2 W_ii, and the whole of W squared."""

    def half(k):
        w = cross_correlation(rows[k], targets[1 - k])
        return sum(-2 * w[i, i] for i in range(len(w))) + settings.balance * (w**2).sum()

    return halves(half)


ORACLES = {
    "barlow_twins": barlow_twins,
    "barlow_twins_identity": barlow_twins_identity,
    "barlow_twins_l2": barlow_twins_identity,
}
