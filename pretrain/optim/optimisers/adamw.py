"""AdamW (Loshchilov and Hutter, ICLR 2019), for trunks such as ConvNeXt and ViT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pretrain.optim.base import Group, Optimiser
from pretrain.runtime.options import FREE, option


@dataclass
class Options:
    """Of AdamW, whose β1 is optim.momentum."""

    beta2: float = option(0.999, "β2, share of the mean of squares that is kept", at_least=0, below=1, resume=FREE)
    epsilon: float = option(1e-8, "ε, added to the root of the mean of squares", above=0, resume=FREE)


def build(groups: Sequence[Group], momentum: float, weight_decay: float, options: Options) -> torch.optim.Optimizer:
    """torch's AdamW over `groups`, fused, at a learning rate of 0.

    Args:
        groups: the parameters, and which of them decay.
        momentum: β1, of the mean of gradients.
        weight_decay: of the parameters that decay: they shrink by lr · weight_decay a step.
        options: the further ones.
    """
    betas = (momentum, options.beta2)
    dicts = [one.as_dict() for one in groups]
    return torch.optim.AdamW(dicts, lr=0.0, betas=betas, eps=options.epsilon, weight_decay=weight_decay, fused=True)


OPTIMISER = Optimiser(
    "Adam with decoupled weight decay (ICLR 2019)", build, Options, exclude="vectors", kept=lambda momentum: 2
)
