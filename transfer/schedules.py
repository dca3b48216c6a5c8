"""The factor on a learning rate from epoch to epoch, as the field's evaluation scripts change it."""

from __future__ import annotations

from typing import Protocol

from fvcore.common.param_scheduler import (
    ConstantParamScheduler,
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)

SCHEDULES = ("cosine", "step", "constant")


class Scheduled(Protocol):
    """Options that say how a learning rate changes: cosine to 0, step (× gamma at each of `milestones`) or constant."""

    schedule: str
    epochs: int
    milestones: list[int]
    gamma: float


def schedule(options: Scheduled) -> ParamScheduler:
    """The factor on a learning rate as a function of the share of epochs done."""
    if options.schedule == "cosine":
        return CosineParamScheduler(1.0, 0.0)
    if options.schedule == "step":
        values = [options.gamma**drops for drops in range(len(options.milestones) + 1)]
        return MultiStepParamScheduler(values, num_updates=options.epochs, milestones=options.milestones)
    return ConstantParamScheduler(1.0)
