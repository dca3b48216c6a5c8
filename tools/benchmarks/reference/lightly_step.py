"""A training step put together from lightly's own parts, as its example of BYOL does; a peer in time only.

It has the passes of ours: both branches take both views, and one learns. Its predictor and its loss are its own, so
there is no equality to check. It is written from lightly's documented interface (lightly.readthedocs.io).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torchvision
from torch import nn


class LightlyTraining:
    """BYOL of lightly; `training(views, lr, momentum)` is one step, as reference/step.py's.

    Args: arch, of torchvision; width, channels of the rows; momentum, weight_decay, of SGD; precision, of the autocast;
        device, where it runs.

    Raises:
        ImportError: lightly is not installed.
    """

    def __init__(
        self,
        arch: str,
        width: int,
        momentum: float,
        weight_decay: float,
        precision: torch.dtype,
        device: torch.device,
    ) -> None:
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead

        trunk = torchvision.models.get_model(arch, weights=None)
        features, trunk.fc = trunk.fc.in_features, nn.Identity()
        self.online = nn.Sequential(trunk, BYOLProjectionHead(features, width, width)).to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = BYOLPredictionHead(width, width, width).to(device)
        self.loss = NegativeCosineSimilarity()
        learning = [*self.online.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.SGD(learning, lr=0.0, momentum=momentum, weight_decay=weight_decay)
        self.device, self.precision = device, precision

    def __call__(self, views: Sequence[torch.Tensor], lr: float, momentum: float) -> float:
        """One step on the two global views (2, n, 3, S, S), normalised; the loss."""
        from lightly.models.utils import update_momentum

        for group in self.optimizer.param_groups:
            group["lr"] = lr
        update_momentum(self.online, self.target, momentum)
        with torch.autocast(self.device.type, self.precision):
            with torch.no_grad():
                targets = [self.target(view) for view in views[0]]
            online = [self.predictor(self.online(view)) for view in views[0]]
            loss = 0.5 * (self.loss(online[0], targets[1]) + self.loss(online[1], targets[0]))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
