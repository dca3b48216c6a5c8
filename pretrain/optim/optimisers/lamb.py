"""LAMB (You et al., ICLR 2020): Adam's steps under LARS's ratios, by timm's implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pretrain.optim.base import Group, Optimiser
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import FREE, option


@dataclass
class Options:
    """Of LAMB, whose β1 is optim.momentum."""

    beta2: float = option(0.999, "β2, share of the mean of squares that is kept", at_least=0, below=1, resume=FREE)
    epsilon: float = option(1e-6, "ε, added to the root of the mean of squares", above=0, resume=FREE)
    most_norm: float | None = option(
        None, "longest gradient of all parameters together; unset leaves gradients as they are", above=0, resume=FREE
    )


def build(groups: Sequence[Group], momentum: float, weight_decay: float, options: Options) -> torch.optim.Optimizer:
    """timm's Lamb over `groups`, at a learning rate of 0.

    Args:
        groups: the parameters, and which of them decay and adapt.
        momentum: β1, of the mean of gradients.
        weight_decay: of the parameters that decay.
        options: the further ones.

    Raises:
        UserError: timm is not installed.
    """
    try:
        from timm.optim.lamb import Lamb
    except ImportError as error:
        raise UserError(
            "optim.optimiser=lamb needs timm, which is not installed: `pip install timm`, or choose adamw or lars."
        ) from error
    # where timm does not always adapt, it adapts what decays
    dicts = [
        one.as_dict() | ({"always_adapt": True} if one.adapts else {"always_adapt": False, "weight_decay": 0.0})
        for one in groups
    ]
    lamb: torch.optim.Optimizer = Lamb(
        dicts,
        lr=0.0,
        betas=(momentum, options.beta2),
        eps=options.epsilon,
        weight_decay=weight_decay,
        max_grad_norm=options.most_norm,
    )
    return lamb


OPTIMISER = Optimiser(
    "Adam's steps under LARS's ratios (ICLR 2020); needs timm",
    build,
    Options,
    exclude="vectors",
    kept=lambda momentum: 2,
    copies=2,
)
