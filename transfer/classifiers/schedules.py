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
SCHEDULE_HELP = "how the learning rate falls from epoch to epoch: by a cosine to 0, by gamma at each milestone, or not"


class Scheduled(Protocol):
    """Options that say how a learning rate changes: one of SCHEDULES, its epochs, and the steps of `step`."""

    schedule: str
    epochs: int
    milestones: list[int]
    gamma: float


def check_schedule(options: Scheduled, prefix: str = "") -> None:
    """Refuse steps that do not fit the number of epochs.

    Args: prefix, of the options' names in the sentence.

    Raises:
        UserError: naming the milestones and the epochs.
    """
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
