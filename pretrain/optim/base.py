"""What an optimiser is told: groups of parameters that are treated alike; and what it declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from pretrain.optim.exclusions import EXCLUSIONS, is_vector

Named = Iterable[tuple[str, nn.Parameter]]


@dataclass
class NoOptions:
    """The options of an optimiser that has none."""


@dataclass(frozen=True)
class Optimiser:
    """A kind of optimiser, declared in its file.

    Args:
        help: what it is, for --help.
        build: makes it from groups, momentum, weight decay and an instance of `options`, at a learning rate of 0.
        options: a dataclass of `option(...)` fields.
        exclude: its rule of exclusion (exclusions.py) where none is asked for.
        kept: how many numbers it keeps for each parameter, by its momentum.
        copies: how many more it holds during a step.
    """

    help: str
    build: Callable[[Sequence[Group], float, float, Any], torch.optim.Optimizer]
    options: type
    exclude: str
    kept: Callable[[float], int]
    copies: int = 0


class Part(NamedTuple):
    """Parameters under one schedule of the learning rate.

    Args: parameters, with their names. share, of the schedule's rate. constant, the rate from the first step to the
        last, before `share`; None follows the schedule.
    """

    parameters: Named
    share: float = 1.0
    constant: float | None = None


class Group(NamedTuple):
    """Parameters that are treated alike.

    Args: parameters. share, of the schedule's rate, or of `constant` where there is one. decays, whether they decay;
        adapts, whether their rate adapts to their norm, under optimisers that do that.
    """

    parameters: list[nn.Parameter]
    share: float
    constant: float | None
    decays: bool
    adapts: bool

    def as_dict(self) -> dict[str, Any]:
        """As torch's optimisers take it, with "lr_share" and perhaps "lr_constant" for `set_rates`."""
        constant = {} if self.constant is None else {"lr_constant": self.constant}
        decay = {} if self.decays else {"weight_decay": 0.0}
        return {"params": self.parameters, "lr_share": self.share, **constant, **decay}


def set_rates(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group its share of the schedule's learning rate, or of its own constant one."""
    for group in optimizer.param_groups:
        group["lr"] = group.get("lr_constant", lr) * group["lr_share"]


def grouped(parts: Iterable[Part], exclude: str, vector_share: float) -> list[Group]:
    """The groups of all parts: of each part its weights, what of these the rule leaves out, and its vectors.

    Args:
        parts: the parameters; those of the first give two groups at least, even if empty.
        exclude: the rule, a name of EXCLUSIONS.
        vector_share: learning rate of parameters of one dimension over that of the others.
    """
    rule, groups = EXCLUSIONS[exclude], []
    for number, part in enumerate(parts):
        kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in part.parameters:
            kind = is_vector(name, parameter.ndim), rule.of(name, parameter.ndim)
            kinds.setdefault(kind, []).append(parameter)
        both = ((False, False), (True, rule.of("", 1)))
        for kind in sorted({*kinds, *(both if number == 0 else ())}):
            share = part.share * (vector_share if kind[0] else 1.0)
            group = Group(kinds.get(kind, []), share, part.constant, not kind[1], not kind[1] or rule.adapts)
            groups.append(group)
    return groups
