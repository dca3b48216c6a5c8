"""The paper's losses, written naively from their equations: explicit sums over samples and channels, no code of ours.

Every function of ORACLES takes what one step is about and returns the scalar whose autograd gradient a row must equal:
    rows      (2, n, C) online rows, with gradients
    targets   (2, n, C) target rows of this step, constants
    history   target rows of all steps, this one's last, for the methods that remember
    settings  the row's numbers (balance, temperature, rho, eps, queue_size, variance, gamma, predictor)
The mean of two symmetric halves is taken at the end, as the official code does.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

Rows = torch.Tensor


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


def info_nce(u1: Rows, u2: Rows, samples: list[Rows], temperature: float) -> Rows:
    """Eq. 1: E[ -log exp(cos(u1, u2)/τ) / Σ_{v∈V} exp(cos(u1, v)/τ) ], for unit rows."""
    total = u1.new_zeros(())
    for row, other in zip(u1, u2, strict=True):
        everything = sum(((row * sample).sum() / temperature).exp() for sample in samples)
        total = total - (((row * other).sum() / temperature).exp() / everything).log()
    return total / len(u1)


def moco(rows, targets, history, settings):
    """Eq. 1 with V_bank, the newest `queue_size` of all target rows seen."""
    seen = [row for step in history for row in step.flatten(0, 1)]
    bank = seen[-settings.queue_size :]
    return halves(lambda k: info_nce(rows[k], targets[1 - k], bank, settings.temperature))


def simclr(rows, targets, history, settings):
    """Eq. 1 with V_batch, all target rows of this step, detached."""
    batch = list(targets.flatten(0, 1))
    return halves(lambda k: info_nce(rows[k], targets[1 - k], batch, settings.temperature))


def simclr_both_terms(rows, targets, history, settings):
    """Eq. 1 with V_batch less u1, the targets being the learning rows themselves, not detached (gradient: Eq. 3)."""
    everyone = list(rows.flatten(0, 1))
    total, n = rows.new_zeros(()), rows.shape[1]
    for anchor, row in enumerate(everyone):
        positive = everyone[(anchor + n) % (2 * n)]
        others = [sample for index, sample in enumerate(everyone) if index != anchor]
        total = total + info_nce(row[None], positive[None], others, settings.temperature)
    return total / (2 * n)


def predicted(rows, targets, history, settings):
    """Eq. 5: E[ -cos(h(u1), u2) ], h = linear, batch normalisation, ReLU, linear, written out."""

    def half(k):
        first, norm, _, last = settings.predictor
        hidden = rows[k] @ first.weight.T
        mean = hidden.mean(0)
        variance = ((hidden - mean) ** 2).mean(0)
        hidden = (hidden - mean) / (variance + norm.eps) ** 0.5 * norm.weight + norm.bias
        guess = hidden.clamp(min=0) @ last.weight.T + last.bias
        return -torch.stack([cosine(a, b) for a, b in zip(guess, targets[1 - k], strict=True)]).mean()

    return halves(half)


def cosine(a: Rows, b: Rows) -> Rows:
    return (a * b).sum() / ((a * a).sum() ** 0.5 * (b * b).sum() ** 0.5)


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


def unigrad_loss(u1: Rows, u2: Rows, samples: list[tuple[float, Rows]], balance: float) -> Rows:
    """Eq. 15: E[ -cos(u1, u2) + λ/2 Σ_v ρ_v cos²(u1, v) ], for unit rows; samples: [(ρ_v, v)]."""
    total = u1.new_zeros(())
    for row, other in zip(u1, u2, strict=True):
        total = total - (row * other).sum()
        for weight, sample in samples:
            total = total + balance / 2 * weight * (row * sample).sum() ** 2
    return total / len(u1)


def unigrad(rows, targets, history, settings):
    """Eq. 15 with V_inf."""
    samples = all_samples(history, settings.rho)
    return halves(lambda k: unigrad_loss(rows[k], targets[1 - k], samples, settings.balance))


def cross_correlation(v1: Rows, v2: Rows) -> Rows:
    """W = (1/N) Σ v1 v2^T (Eq. 8)."""
    return sum(torch.outer(a, b) for a, b in zip(v1, v2, strict=True)) / len(v1)


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


def halves(half: Callable[[int], Rows]) -> Rows:
    return (half(0) + half(1)) / 2


Oracle = Callable[[Rows, Rows, list[Rows], SimpleNamespace], Rows]
ORACLES: dict[str, Oracle] = {
    "moco": moco,
    "simclr": simclr,
    "byol": predicted,
    "simsiam": predicted,
    "directpred": directpred,
    "unigrad": unigrad,
    "barlow_twins": barlow_twins,
    "barlow_twins_identity": barlow_twins_identity,
    "barlow_twins_l2": barlow_twins_identity,
    "vicreg": vicreg,
    "vicreg_l2": vicreg_l2,
    "simclr_both_terms": simclr_both_terms,
    "directpred_middle_term": directpred_middle_term,
}
