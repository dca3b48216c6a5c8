"""BYOL of lightly: its heads, its loss and its moving average.

Its predictor sees the projector's output as it is. That of row c sees it normalised (Eq. 5). They differ in that alone.
"""

from __future__ import annotations

import copy

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import nn

from pretrain.methods import GradientForm, LossForm
from pretrain.methods.learned_predictor import LearnedPredictor
from pretrain.models.siamese import Siamese
from tools.trials.peers.peer import Passed, Peer, linear, take_over


class BYOL(nn.Module):
    """Trunk, heads, what follows them, and loss. ours, form: the row's, whose widths and weights are taken over."""

    def __init__(self, trunk: nn.Module, ours: Siamese, form: GradientForm | LossForm) -> None:
        super().__init__()
        assert isinstance(form, LearnedPredictor), "the row's form"
        first, last = linear(ours.online.projector)
        self.trunk, self.head = trunk, BYOLProjectionHead(first.in_features, last.in_features, last.out_features)
        self.predictor = BYOLPredictionHead(form.width, form.hidden, form.width)
        take_over(self.head, ours.online.projector)
        take_over(self.predictor, form.predictor)
        self.target_trunk, self.target_head = copy.deepcopy(self.trunk), copy.deepcopy(self.head)
        deactivate_requires_grad(self.target_trunk)
        deactivate_requires_grad(self.target_head)
        self.loss = NegativeCosineSimilarity()

    def forward(self, views: torch.Tensor, momentum: float) -> Passed:
        """The target follows, then each view predicts what the target makes of the other one."""
        update_momentum(self.trunk, self.target_trunk, m=momentum)
        update_momentum(self.head, self.target_head, m=momentum)
        rows = [self.head(self.trunk(view)) for view in views]
        first, second = (self.predictor(row) for row in rows)
        with torch.no_grad():
            targets = [self.target_head(self.target_trunk(view)) for view in views]
        loss = 0.5 * (self.loss(first, targets[1]) + self.loss(second, targets[0]))
        return Passed(loss, torch.stack(rows).detach(), torch.stack(targets))


PEER = Peer("byol", ("momentum", "momentum"), 1.0, BYOL)
