"""The official code's four losses, written plainly from its equations: ours are timed against them and must equal them.

Each is called with a step's online rows (z1, z2) and target rows (z1m, z2m), all (n, C), and returns the loss and the
mean cosine of positive pairs, as the official functions do (fundamentalvision/UniGrad ede8e68). They are the same
passes over the same matrices, in one process: there the all-reduce of F does nothing, the division that follows is
made. What is left out are the halves to which the official code rounds DirectPred's predictor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Pair = tuple[torch.Tensor, torch.Tensor]
Loss = tuple[torch.Tensor, torch.Tensor]


def _injected(gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], online: Pair, targets: Pair) -> Loss:
    """Both halves of a loss whose gradient for rows z1 drawn to z2m is gradient(z1, z2m), and the cosine."""
    halves, cosines = [], []
    for own, other in zip(online, reversed(targets), strict=True):
        halves.append((gradient(own, other).detach() * own).sum(-1).mean())
        cosines.append(torch.einsum("nc,nc->n", own, other).mean().detach())
    return 0.5 * (halves[0] + halves[1]), 0.5 * (cosines[0] + cosines[1])


def _moving_average(corr: torch.Tensor | None, targets: Pair, rho: float, ranks: int = 1) -> torch.Tensor:
    """F after a step, out of place."""
    z1m, z2m = targets
    batch = (torch.mm(z1m.t(), z1m) + torch.mm(z2m.t(), z2m)) / (2 * len(z1m))
    batch = batch / ranks
    return batch if corr is None else rho * corr + (1 - rho) * batch


@dataclass
class UniGrad:
    """loss_unigrad. Args: balance, λ; rho; corr, F (C, C), None before the first step."""

    balance: float
    rho: float = 0.99
    corr: torch.Tensor | None = None

    def __call__(self, online: Pair, targets: Pair) -> Loss:
        corr = self.corr = _moving_average(self.corr, targets, self.rho)
        return _injected(lambda own, other: -other + self.balance * torch.mm(own, corr), online, targets)


@dataclass
class SimCLR:
    """loss_simclr_grad_mm. Args: temperature, τ."""

    temperature: float = 0.2

    def __call__(self, online: Pair, targets: Pair) -> Loss:
        samples = torch.cat(targets)

        def gradient(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            weight = torch.softmax(own @ samples.t() / self.temperature, dim=-1)
            return (-other + weight @ samples) / self.temperature

        return _injected(gradient, online, targets)


@dataclass
class DirectPred:
    """loss_byol_directpred_grad: a singular value decomposition of F (C, C) every step. Args: eps, ε; rho."""

    eps: float = 0.3
    rho: float = 0.99
    corr: torch.Tensor | None = None

    def __call__(self, online: Pair, targets: Pair) -> Loss:
        corr = self.corr = _moving_average(self.corr, targets, self.rho)
        left, values, right = torch.svd(corr)
        largest = values.max()
        torch.mm(left, torch.mm(torch.diag(torch.sqrt(values)), right.t()))  # computed there too, and never used
        roots = (torch.sqrt(values / largest) + self.eps).clamp(1e-4)
        predictor = torch.mm(left, torch.mm(torch.diag(roots), right.t()))
        radial = self.eps**2 * torch.eye(len(corr), dtype=corr.dtype, device=corr.device)

        def gradient(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            """-W u2 and λ (F/λ_max + ε²) u1, with the products that are made twice."""
            norm = torch.linalg.norm(torch.mm(own, predictor), dim=-1).unsqueeze(-1)
            positive = -torch.mm(other, predictor)
            below = torch.einsum("nc,nc->n", torch.mm(own, corr / largest + radial), own).unsqueeze(-1)
            above = torch.einsum("nc,nc->n", torch.mm(own, predictor), other).unsqueeze(-1)
            negative = torch.mm(own, corr / largest + radial)
            drawn: torch.Tensor = 1 / norm * (positive + above / below * negative)
            return drawn

        return _injected(gradient, online, targets)


@dataclass
class BarlowTwins:
    """loss_barlow_twins_grad_mm, on unit rows. Args: balance, λ."""

    balance: float

    def __call__(self, online: Pair, targets: Pair) -> Loss:
        def gradient(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            negative = (other @ other.T) @ own / len(own)
            return 2 * (-other + self.balance * negative)

        return _injected(gradient, online, targets)
