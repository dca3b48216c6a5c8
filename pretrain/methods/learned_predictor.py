"""Asymmetric methods with a learned predictor, row c: BYOL and SimSiam. They are losses, differentiated as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from pretrain.methods.collectives import DOUBLE, FLOAT, Sent, Shapes, norm_moments
from pretrain.methods.row import OWN, LossForm, Row
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import FIXED, option


@dataclass
class Options:
    """Of row c."""

    hidden: int = option(
        4096, "channels between the two layers of the predictor", at_least=1, unit="channels", resume=FIXED
    )


class LearnedPredictor(LossForm):
    """Row c: L = -cos(h(u1), u2) (Eq. 5), h a learned predictor: linear, BN, ReLU, linear (BYOL, SimSiam).

    Args: width, C of the rows; hidden, channels between the two linear layers.
    """

    normalisation = "l2"

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.predictor = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            ViewBatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, width),
        )

    def observe(self, samples: torch.Tensor) -> None:
        """Nothing is remembered; only the width is checked."""
        if samples.shape[-1] != self.width:
            raise UserError(
                f"rows have {samples.shape[-1]} channels, but the predictor was built for {self.width}: build it with "
                f"width={samples.shape[-1]}."
            )

    def loss(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return -(functional.normalize(self.predictor(u1), dim=-1) * u2).sum(-1)

    def sent(self, shapes: Shapes) -> list[Sent]:
        """The moments of the predictor's norm for every view, forward and backward, and each parameter's gradient."""
        moments = [2 * self.hidden] * shapes.views
        parameters = list(self.parameters())
        return [
            norm_moments("moments, online", moments, DOUBLE),
            norm_moments("moments, backward", moments, FLOAT),
            Sent("gradients", "all_reduce", sum(one.nbytes for one in parameters), len(parameters)),
        ]


ROWS = (
    Row("byol", "c", LearnedPredictor, Options, title="BYOL"),
    Row("simsiam", "c", LearnedPredictor, Options, own={"hidden": 512}, targets=OWN, title="SimSiam"),
)
