"""Stochastic gradient descent with momentum, the optimiser of the 100-epoch recipe, MoCo and SimSiam."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pretrain.optim.base import Group, NoOptions, Optimiser


def build(groups: Sequence[Group], momentum: float, weight_decay: float, options: NoOptions) -> torch.optim.Optimizer:
    """torch's SGD over `groups`, at a learning rate of 0.

    Fused: one kernel a group, and on the device it takes the scaler's verdict without asking the host.

    Args:
        groups: the parameters, and which of them decay.
        momentum: of the accumulated steps.
        weight_decay: of the parameters that decay, added to their gradients.
        options: the further ones; there are none.
    """
    dicts = [one.as_dict() for one in groups]
    return torch.optim.SGD(dicts, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)


OPTIMISER = Optimiser(
    "stochastic gradient descent with momentum",
    build,
    NoOptions,
    exclude="none",
    kept=lambda momentum: int(momentum > 0),
)
