"""DirectPred, with and without the middle term (Eq. 5, 6)."""

from __future__ import annotations

import torch

from helpers.oracles.explicit import Rows, all_samples, cosine, halves


def predictor_of(history: list[Rows], rho: float, eps: float) -> tuple[Rows, Rows]:
    """Eq. 6 in the official code's form: F/λ_max from explicit samples, and W = its root + ε, through an SVD."""
    corr = sum(weight * torch.outer(sample, sample) for weight, sample in all_samples(history, rho))
    left, values, right = torch.linalg.svd(corr)
    identity = torch.eye(len(corr), dtype=corr.dtype)
    root = sum((value / values[0]) ** 0.5 * torch.outer(left[:, i], right[i]) for i, value in enumerate(values))
    return corr / values[0], root + eps * identity


def directpred_middle_term(rows, targets, history, settings):
    """Eq. 5 with h(u) = W u (gradient: Eq. 24, 25)."""
    _, through = predictor_of(history, settings.rho, settings.eps)
    return halves(
        lambda k: -torch.stack([cosine(through @ u, v) for u, v in zip(rows[k], targets[1 - k], strict=True)]).mean()
    )


def directpred(rows, targets, history, settings):
    """The same with W W read as F/λ_max + ε² (Eq. 27), under the norm of the whole W, a constant."""
    corr, through = predictor_of(history, settings.rho, settings.eps)
    short = corr + settings.eps**2 * torch.eye(len(corr), dtype=corr.dtype)

    def half(k):
        total = rows.new_zeros(())
        for u, v in zip(rows[k], targets[1 - k], strict=True):
            length = (u @ short @ u) ** 0.5
            total = total - (v @ through @ u) / length * (length / (through @ u).norm()).detach()
        return total / len(rows[k])

    return halves(half)


ORACLES = {"directpred": directpred, "directpred_middle_term": directpred_middle_term}
