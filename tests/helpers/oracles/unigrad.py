"""UniGrad (Eq. 15)."""

from __future__ import annotations

from helpers.oracles.explicit import Rows, all_samples, halves


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


ORACLES = {"unigrad": unigrad}
