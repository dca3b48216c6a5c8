"""How a trunk that has learned before learns on: at a share of the rate, and not at all in the first epochs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def apart(optimizer: torch.optim.Optimizer, trunk: nn.Module, share: float) -> None:
    """Put the parameters of `trunk` into groups of their own, whose learning rate is `share` of that of the others.

    They stand apart at a share of 1 too: torch's fused SGD wants all parameters of a group to begin at one step, and a
    trunk may wait.
    """
    chosen = {id(parameter) for parameter in trunk.parameters()}
    for group in list(optimizer.param_groups):
        mine = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if not mine:
            continue
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
        optimizer.add_param_group({**group, "params": mine, "lr_share": group["lr_share"] * share})


def hold(parameters: Iterable[nn.Parameter]) -> None:
    """Drop the gradients of a step, so that an optimiser passes these over: no decay and no momentum either."""
    for parameter in parameters:
        parameter.grad = None
