"""The official code's training step, written plainly from what it does: ours is timed against it and must equal it.

One process of the official loop (fundamentalvision/UniGrad ede8e68, project/pretrainer.py): the target follows in a
Python loop that makes a new tensor a parameter, then both branches take one view after the other, NCHW, the loss is
computed under the autocast of the networks (so F is fp16 or bf16 there), the target's parameters are handed to the
optimiser too, and in every step the host asks whether the loss is NaN and reads the loss and the cosine. What ranks
ask each other is left out.

The official code has no local views. Here they pass as SwAV's code passes them, all of a size as one batch, and each is
drawn to the mean of both target rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torchvision
from torch import nn
from torch.nn import functional

from tools.benchmarks.reference.losses import Pair, UniGrad


def network(arch: str, width: int, depth: int) -> nn.Sequential:
    """torchvision's trunk and the official projector of `depth` linear layers to `width` channels, with random weights.

    Their state dicts have the names of `pretrain.models.siamese`'s trunk and projector.
    """
    trunk = torchvision.models.get_model(arch, weights=None)
    features, trunk.fc = trunk.fc.in_features, nn.Identity()
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        features = width
    return nn.Sequential(trunk, nn.Sequential(*layers, nn.Linear(features, width)))


class OfficialTraining:
    """Online and target network with their optimiser; `training(views, lr, momentum)` is one step.

    Args:
        online: the branch that learns, at its start; images (n, 3, S, S) to rows (n, C), not yet unit.
        balance, rho: of UniGrad. momentum, weight_decay: of SGD.
        precision: of the autocast; a dtype of 4 bytes or more leaves it out, fp16 brings a loss scaler.
    """

    def __init__(
        self,
        online: nn.Module,
        balance: float,
        rho: float = 0.99,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.online, self.target = online, copy.deepcopy(online)
        self.loss = UniGrad(balance, rho)
        everything = [*self.online.parameters(), *self.target.parameters()]
        self.optimizer = torch.optim.SGD(everything, lr=0.0, momentum=momentum, weight_decay=weight_decay)
        self.device, self.precision = everything[0].device.type, precision
        self.scaler = torch.amp.GradScaler(self.device, enabled=precision == torch.float16)

    def __call__(self, views: Sequence[torch.Tensor], lr: float, momentum: float) -> tuple[float, float]:
        """One step; the loss and the mean cosine of positive pairs.

        Args: views, normalised, contiguous (V, n, 3, S, S) for each size, the two global views first; lr; momentum, of
            the target's moving average.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(self.device, self.precision, enabled=self.precision.itemsize < 4):
            self._follow(momentum)
            with torch.no_grad():
                targets = _pair(self.target, views[0])
            loss, cosine = self.loss(_pair(self.online, views[0]), targets)
            local = [_rows(self.online, size.flatten(0, 1)) for size in views[1:]]
            if local:
                loss = self._with_local(loss, torch.cat(local), targets)
        if torch.any(torch.isnan(loss)):
            raise FloatingPointError("the loss is not a number")
        self.optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item(), cosine.item()

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.data = target.data * momentum + online.data * (1 - momentum)

    def _with_local(self, loss: torch.Tensor, local: torch.Tensor, targets: Pair) -> torch.Tensor:
        """The mean over all views, from that of the two global ones and the rows (V n, C) of the local ones."""
        count = len(local) // len(targets[0])
        goal = (0.5 * (targets[0] + targets[1])).repeat(count, 1)
        assert self.loss.corr is not None, "the loss has been called"
        gradient = -goal + self.loss.balance * torch.mm(local, self.loss.corr)
        return (2 * loss + count * (gradient.detach() * local).sum(-1).mean()) / (2 + count)


def _pair(network: nn.Module, views: torch.Tensor) -> Pair:
    first, second = (_rows(network, view) for view in views)
    return first, second


def _rows(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return functional.normalize(network(images), dim=-1)
