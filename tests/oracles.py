"""The paper's losses, written naively from their equations: explicit sums, no code of ours."""

from __future__ import annotations

import torch


def unigrad_loss(u1: torch.Tensor, u2: torch.Tensor, samples: list[tuple[float, torch.Tensor]], balance: float):
    """Eq. 15, E[ -cos(u1, u2) + λ/2 Σ_v ρ_v cos²(u1, v) ], for unit rows; samples: [(ρ_v, v)]."""
    total = 0.0
    for row, other in zip(u1, u2, strict=True):
        total = total - (row * other).sum()
        for weight, sample in samples:
            total = total + balance / 2 * weight * (row * sample).sum() ** 2
    return total / len(u1)


def remembered_samples(batches: list[torch.Tensor], rho: float) -> list[tuple[float, torch.Tensor]]:
    """[(ρ_v, v)] of a moving average over `batches` (each (M, C)) that starts as a copy of the first one."""
    weighted: list[tuple[float, torch.Tensor]] = []
    for position, batch in enumerate(batches):
        kept = 1.0 if position == 0 else rho
        new = 1.0 if position == 0 else 1 - rho
        weighted = [(weight * kept, sample) for weight, sample in weighted] if position else []
        weighted += [(new / len(batch), sample) for sample in batch]
    return weighted
