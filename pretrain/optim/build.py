"""From a name to an optimiser over the groups of a network's parameters, and its state under today's options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import torch

from pretrain.optim.base import Optimiser, Part, grouped
from pretrain.optim.optimisers import NAMES
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import fill


def find(name: str) -> Optimiser:
    """The optimiser of the file optimisers/NAME.py.

    Raises:
        UserError: there is none; the names are listed.
    """
    if name not in NAMES:
        raise UserError(f"optim.optimiser={name} is not known: choose one of {', '.join(NAMES)}.")
    found: Optimiser = import_module(f"pretrain.optim.optimisers.{name}").OPTIMISER
    return found


def build(
    name: str,
    parts: Iterable[Part],
    momentum: float,
    weight_decay: float,
    bias_lr_share: float,
    exclude: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """An optimiser over the parameters of `parts`; `set_rates` gives it the rate of a step.

    `sgd` is the 100-epoch recipe's and `lars` the 800-epoch one's (paper, Appendix B). Under SGD all parameters decay
    (official code). Under the others parameters of one dimension, the biases and those of norms, have neither decay nor
    adaptation.

    Args:
        name: of the optimiser.
        parts: all that learns, by schedule.
        momentum: of the optimiser; β1 of those of Adam's family.
        weight_decay: of the parameters that decay.
        bias_lr_share: learning rate of parameters of one dimension over that of the others.
        exclude: the rule of exclusion (exclusions.py); None is the optimiser's own.
        options: the optimiser's further ones, such as beta2=0.95; None leaves its value.

    Raises:
        UserError: no such optimiser, or one that is not installed, or an option that it does not have.
    """
    kind = find(name)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    own = fill(kind.options(), given, f"optim.optimiser={name}", "optim.")
    return kind.build(grouped(parts, exclude or kind.exclude, bias_lr_share), momentum, weight_decay, own)


def under_own_options(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """A stored state of `optimizer` with the options that it has now, such as momentum and weight decay.

    torch's own `load_state_dict` would put the stored ones in their place. What only the stored groups have, as LAMB's
    number of steps, is kept.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [{**then, **now, "params": then["params"]} for now, then in zip(own, state["param_groups"], strict=True)]
    return {**state, "param_groups": groups}
