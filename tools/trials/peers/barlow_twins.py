"""Barlow Twins of lightly: its projection head and its loss, through which both views learn."""

from __future__ import annotations

import torch
from lightly.loss import BarlowTwinsLoss
from lightly.models.modules import BarlowTwinsProjectionHead
from torch import nn

from pretrain.methods import GradientForm, LossForm
from pretrain.models.siamese import Siamese
from tools.trials.peers.peer import Passed, Peer, linear, take_over


class BarlowTwins(nn.Module):
    """Trunk, head and loss. ours, form: the row's, whose widths, weights and balance are taken over."""

    def __init__(self, trunk: nn.Module, ours: Siamese, form: GradientForm | LossForm) -> None:
        super().__init__()
        assert isinstance(form, GradientForm), "the row's form"
        first, *_, last = linear(ours.online.projector)
        self.trunk = trunk
        self.head = BarlowTwinsProjectionHead(first.in_features, last.in_features, last.out_features)
        take_over(self.head, ours.online.projector)
        self.loss = BarlowTwinsLoss(lambda_param=form.balance)

    def forward(self, views: torch.Tensor, momentum: float) -> Passed:
        """One view after the other."""
        first, second = (self.head(self.trunk(view)) for view in views)
        rows = torch.stack([first, second]).detach()
        return Passed(self.loss(first, second), rows, rows)


# The loss is a sum over both views; the gradient of a row is averaged over them.
PEER = Peer("barlow_twins", ("stop_gradient", "stop_gradient"), 2.0, BarlowTwins)
