"""Barlow Twins, rows f, g and h: decorrelation by the cross-correlation of the two views."""

from __future__ import annotations

import torch

from pretrain.gradients import attract, attract_through, repel_cross
from pretrain.methods.collectives import Sent, Shapes, gathered_rows, reduced_means
from pretrain.methods.row import GradientForm, Row
from pretrain.runtime import distributed


class BarlowTwins(GradientForm):
    """Rows f, g, h: dL/du1 = 2 (-A u2 + λ Σ_{v∈V_batch} (u2·v2 / N) v1) (Eq. 9), A = I - (1-λ) W_diag, or I.

    Args: normalisation, "bn" (f, g) or "l2" (h); identity, A = I (g, h).
    """

    scale, row_by_row, linear_in_targets = 2.0, False, False  # the cross-correlation is quadratic in the targets

    def __init__(self, balance: float, normalisation: str, identity: bool) -> None:
        super().__init__()
        self.balance, self.normalisation, self.identity = balance, normalisation, identity

    def observe(self, samples: torch.Tensor) -> None:
        """Nothing is remembered."""

    def diagonal(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(C,) diagonal of A, from the cross-correlation W of the global batch (Eq. 8, 9)."""
        return 1 - (1 - self.balance) * distributed.all_mean((u1 * u2).mean(0))

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2) if self.identity else attract_through(u2, self.diagonal(u1, u2))

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_cross(u2, distributed.all_gather(u2), distributed.all_gather(u1))

    def figure_3(self, u1: torch.Tensor, u2: torch.Tensor) -> dict[str, torch.Tensor]:
        """The range of A's diagonal, which rows g and h take as 1: Figure 3 c. Empty where they do."""
        if self.identity:
            return {}
        diagonal = self.diagonal(u1, u2)
        return {"barlow_a_min": diagonal.min(), "barlow_a_max": diagonal.max()}

    def sent(self, shapes: Shapes) -> list[Sent]:
        """Both rows of each view for the negative gradient, and W's diagonal where A is not I."""
        diagonals = 0 if self.identity else shapes.views
        return [reduced_means(shapes, diagonals), gathered_rows(shapes, 2 * shapes.views)]


# normalisation of the rows, and A: W's diagonal or the identity
BN_A = {"normalisation": "bn", "identity": False}
BN_I = {"normalisation": "bn", "identity": True}
L2_I = {"normalisation": "l2", "identity": True}
ROWS = (
    Row("barlow_twins", "f", BarlowTwins, fixed=BN_A, balance=5e-3, title="Barlow Twins"),
    Row("barlow_twins_identity", "g", BarlowTwins, fixed=BN_I, balance=5e-3, title="Barlow Twins (A = I)"),
    Row("barlow_twins_l2", "h", BarlowTwins, fixed=L2_I, balance=50.0, grows=1, title="Barlow Twins (l2)"),
)
