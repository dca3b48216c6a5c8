"""SimCLR of lightly: its projection head and NT-Xent; both views learn, as positives and as negatives of all others."""

from __future__ import annotations

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import nn

from pretrain.methods import GradientForm, LossForm
from pretrain.methods.contrastive import BothTerms
from pretrain.models.siamese import Siamese
from tools.trials.peers.peer import Passed, Peer, linear, take_over


class SimCLR(nn.Module):
    """Trunk, head and loss. ours, form: the row's, whose widths, weights and temperature are taken over."""

    def __init__(self, trunk: nn.Module, ours: Siamese, form: GradientForm | LossForm) -> None:
        super().__init__()
        assert isinstance(form, BothTerms), "the row's form"
        first, last = linear(ours.online.projector)
        self.trunk, self.head = trunk, SimCLRProjectionHead(first.in_features, last.in_features, last.out_features)
        take_over(self.head, ours.online.projector)
        self.loss = NTXentLoss(temperature=form.temperature)

    def forward(self, views: torch.Tensor, momentum: float) -> Passed:
        """One view after the other."""
        first, second = (self.head(self.trunk(view)) for view in views)
        rows = torch.stack([first, second]).detach()
        return Passed(self.loss(first, second), rows, rows)


PEER = Peer("simclr_both_terms", ("stop_gradient", "stop_gradient"), 1.0, SimCLR)
