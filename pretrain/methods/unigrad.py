"""UniGrad, row e: the positive gradient of every method and a correlation that remembers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pretrain.gradients import attract, repel_correlation
from pretrain.methods.collectives import Sent, Shapes
from pretrain.methods.memory import FeatureCorrelation
from pretrain.methods.row import GradientForm, Row
from pretrain.runtime.options import FIXED, option


@dataclass
class Options:
    """Of row e."""

    rho: float = option(
        0.99,
        "ρ, the share of the moving average F that a step keeps; about .9 in a run of few epochs",
        at_least=0,
        below=1,
        resume=FIXED,
    )


class UniGrad(GradientForm):
    """Row e: dL/du1 = -u2 + λ F u1 (Eq. 14), F from the samples of both views, updated before it is used.

    Args: balance, λ, about 0.05 C (the paper's 100 at C = 2048; 4 C collapses); rho, of F.
    """

    normalisation, scale, row_by_row = "l2", 1.0, True

    def __init__(self, balance: float, rho: float) -> None:
        super().__init__()
        self.balance = balance
        self.correlation = FeatureCorrelation(rho)

    def prepare(self, samples: torch.Tensor) -> None:
        """Begin the all-reduce of F with this step's samples (G, n, C)."""
        self.correlation.begin(samples.flatten(0, 1))

    def observe(self, samples: torch.Tensor) -> None:
        self.correlation.update(samples.flatten(0, 1))

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_correlation(u1, self.correlation.corr)

    def sent(self, shapes: Shapes) -> list[Sent]:
        return self.correlation.sent(shapes)


ROWS = (Row("unigrad", "e", UniGrad, Options, balance=100.0, grows=1, title="UniGrad"),)
