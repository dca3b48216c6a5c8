"""The factor on a learning rate from epoch to epoch, as the field's evaluation scripts change it."""

from __future__ import annotations

import itertools
from typing import Protocol

from fvcore.common.param_scheduler import (
    ConstantParamScheduler,
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)

from pretrain.runtime.errors import UserError

SCHEDULES = ("cosine", "step", "constant")


class Scheduled(Protocol):
    """Options that say how a learning rate changes: cosine to 0, step (× gamma at each of `milestones`) or constant."""

    schedule: str
    epochs: int
    milestones: list[int]
    gamma: float


def check(options: Scheduled, prefix: str = "") -> None:
    """Refuse a schedule that is not known or whose steps do not fit its epochs.

    Args: prefix, of the options' names in the sentence.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    if options.schedule not in SCHEDULES:
        raise UserError(f"{prefix}schedule={options.schedule} is not known: choose one of {', '.join(SCHEDULES)}.")
    bounds = [0, *options.milestones, options.epochs]
    if options.schedule == "step" and not all(before < after for before, after in itertools.pairwise(bounds)):
        raise UserError(
            f"{prefix}milestones={options.milestones} must rise between 0 and {prefix}epochs={options.epochs}: "
            "choose others, or another schedule."
        )


def schedule(options: Scheduled) -> ParamScheduler:
    """The factor on a learning rate as a function of the share of epochs done."""
    if options.schedule == "cosine":
        return CosineParamScheduler(1.0, 0.0)
    if options.schedule == "step":
        values = [options.gamma**drops for drops in range(len(options.milestones) + 1)]
        return MultiStepParamScheduler(values, num_updates=options.epochs, milestones=options.milestones)
    return ConstantParamScheduler(1.0)
