"""What a method remembers of past samples: modules that own float32 buffers, saved, resumed and equal on all ranks."""

from __future__ import annotations

import math

import torch
from torch import nn

from pretrain import comm


class FeatureCorrelation(nn.Module):
    """F = Σ_v ρ_v v v^T over all past samples, as the moving average F ← ρ F + (1-ρ) mean_batch(v v^T) (Eq. 14).

    The first update copies the batch's correlation, as the official code does. F stays in float32 whatever the
    precision of the run: kept in fp16, as the official code keeps it under autocast, its off-diagonals are lost.

    Buffers: corr (C, C) float32; num_updates, how many batches it has seen.
    """

    corr: torch.Tensor
    num_updates: torch.Tensor

    def __init__(self, width: int, rho: float) -> None:
        super().__init__()
        self.rho = rho
        self.register_buffer("corr", torch.zeros(width, width))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Take in this batch: rows (M, C) of this rank, averaged over ranks, which hold equally many rows each."""
        with torch.autocast(rows.device.type, enabled=False):
            batch = comm.all_mean(rows.T @ rows / len(rows))
        # A tensor weight instead of an `if`: reading num_updates on the host would stall the device at every step.
        weight = torch.full_like(self.corr[0, 0], 1.0 - self.rho).masked_fill_(self.num_updates == 0, 1.0)
        self.corr.lerp_(batch, weight)
        self.num_updates += 1

    @torch.no_grad()
    def effective_rank(self) -> float:
        """RankMe (Garrido et al., 2023): exp of the entropy of the rows' normalised singular values, from 1 to C.

        The singular values of the remembered rows are the square roots of F's eigenvalues. Costs an eigh of (C, C).
        NaN where F is not finite.
        """
        if not self.corr.isfinite().all():
            return math.nan
        singular = torch.linalg.eigvalsh(self.corr.double()).clamp_min(0).sqrt()
        share = singular / singular.sum().clamp_min(torch.finfo(torch.float64).tiny)
        return torch.special.entr(share).sum().exp().item()
