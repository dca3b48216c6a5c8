"""What the paper looks at while methods train: Figure 2's curves, Figure 3's four checks, and the signs of collapse.

Everything returns scalars on the device, without gradient. The logger reads them later.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from pretrain.methods import SimplifiedForm
from pretrain.methods.memory import FeatureCorrelation
from pretrain.runtime import distributed


@torch.no_grad()
def cosines(online: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean cosine of positive pairs (the other view of an image) and of negative pairs (of another), Figure 2.

    Negative pairs are those of one rank, so that no step talks to the others for the sake of a diagnostic.

    Args: online (K, n, C), targets (G, n, C), rows of any length; the first two views of each are compared, crosswise.
    """
    u, v = functional.normalize(online[:2], dim=-1), functional.normalize(targets[:2].flip(0), dim=-1)
    n = u.shape[1]
    positive = (u * v).sum()
    everything = (u.sum(1) * v.sum(1)).sum()
    return {
        "positive_cosine": positive / (2 * n),
        "negative_cosine": (everything - positive) / (2 * n * max(n - 1, 1)),
    }


@torch.no_grad()
def decorrelation(rows: torch.Tensor) -> torch.Tensor:
    """Mean absolute off-diagonal of the correlation matrix of channels over the batch of all ranks, Figure 2.

    Args: rows (n, C) of one view on this rank, of any length. Unrelated channels give about 0.8 / sqrt(N), not 0.
    """
    rows = distributed.all_gather(rows).float()
    centred = functional.normalize(rows - rows.mean(0), dim=0)
    width = rows.shape[1]
    correlation = (centred.T @ centred).abs()
    return (correlation.sum() - correlation.diagonal().sum()) / (width * max(width - 1, 1))


@torch.no_grad()
def figure_3(form: nn.Module, u1: torch.Tensor, u2: torch.Tensor) -> dict[str, torch.Tensor]:
    """What justifies the paper's simplifications, for the forms that they simplify (Figure 3 a to d); else {}.

    Args: u1 (n, C), online rows of a view; u2 (n, C), what they are drawn to. Call it after the form's `observe`.
    """
    return form.figure_3(u1, u2) if isinstance(form, SimplifiedForm) else {}


@torch.no_grad()
def effective_rank(moments: torch.Tensor, most: int | None = None, epsilon: float = 0.0) -> float:
    """exp of the entropy of the rows' normalised singular values, from 1 to their number (Roy and Vetterli, 2007).

    With ε = 1e-7 added to each share it is RankMe (Garrido et al., 2023), which transfer/analysis/rankme.py reads from
    features; here, along a run, it is read without.

    Args: moments (C, C), Σ v v^T of the rows or any multiple of it: the singular values are the square roots of its
        eigenvalues. most: how many of the largest ones count, None for all. epsilon: see above.
    """
    values = torch.linalg.eigvalsh(moments.double()).clamp_min(0).sqrt()
    values = values if most is None else values[-most:]
    shares = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny) + epsilon
    return float(torch.special.entr(shares).sum().exp())


class Health(nn.Module):
    """Figure 2's slower readings, the same for every method: a moving F of the target rows' directions at logged steps.

    Its rank then speaks of many batches, not of one, which has at most N directions; saved with the run.
    """

    def __init__(self, rho: float = 0.9) -> None:
        super().__init__()
        self.correlation = FeatureCorrelation(rho)

    def observe(self, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Take in a logged step's target rows (G, n, C); its decorrelation."""
        self.correlation.update(functional.normalize(targets.float(), dim=-1).flatten(0, 1))
        return {"decorrelation": decorrelation(targets[0])}

    def effective_rank(self) -> float:
        """Effective rank of the directions (no ε), 1 (collapsed) to C; NaN where F is empty or not finite.

        Waits for the device and costs an eigh of (C, C).
        """
        corr = self.correlation.corr
        return effective_rank(corr) if corr.numel() and corr.isfinite().all() else math.nan
