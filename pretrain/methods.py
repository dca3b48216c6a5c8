"""Methods as the paper's Table 2 writes them: a positive gradient, a negative gradient and a balance factor."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from pretrain.errors import UserError
from pretrain.gradients import attract, repel_correlation
from pretrain.memory import FeatureCorrelation


class GradientForm(Protocol):
    """dL/du1 = positive + balance · negative (Eq. 13). `observe` is the only place where memory changes."""

    balance: float

    def observe(self, targets: torch.Tensor) -> None:
        """Take in this step's target rows (G, n, C), before the gradients are asked for."""

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(n, C) rows of a view and what they are drawn to, to (n, C)."""

    def negative(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(n, C) rows of a view and what they are drawn to, to (n, C), without the balance factor."""

    def health(self) -> dict[str, float]:
        """Measurements of collapse, too dear for every step."""


class UniGrad(nn.Module):
    """Row e: dL/du1 = -u2 + λ F u1 (Eq. 14), F from the target rows of both views, updated before it is used.

    Args: width, C of the rows; balance, λ, about 0.05 C (the paper's 100 at C = 2048; 4 C collapses); rho, of F.
    """

    def __init__(self, width: int, balance: float = 100.0, rho: float = 0.99) -> None:
        super().__init__()
        self.balance = balance
        self.correlation = FeatureCorrelation(width, rho)

    def observe(self, targets: torch.Tensor) -> None:
        self.correlation.update(targets.flatten(0, 1))

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return repel_correlation(u1, self.correlation.corr)

    def health(self) -> dict[str, float]:
        return {"effective_rank": self.correlation.effective_rank()}


# Name: (row letter, published ImageNet linear top-1 after 100 epochs, how it is built).
TABLE_2 = {
    "unigrad": ("e", 70.3, UniGrad),
}


def build(name: str, **overrides: Any) -> GradientForm:
    """The method called `name` in TABLE_2, with its keyword arguments overridden.

    Raises:
        UserError: no such row.
    """
    if name not in TABLE_2:
        raise UserError(f"method.name={name} is not a row of Table 2: choose one of {', '.join(TABLE_2)}.")
    return TABLE_2[name][2](**overrides)
