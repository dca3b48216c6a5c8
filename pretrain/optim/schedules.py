"""The schedules of the learning rate and of the target's momentum.

A schedule takes the share of steps done, 0 to 1; fvcore's ParamSchedulers are schedules.
"""

from __future__ import annotations

from collections.abc import Callable

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
)

from pretrain.optim.scaling import momentum_at

Schedule = Callable[[float], float]


def warmup_cosine(peak: float, warmup: float, end: float = 0.0) -> Schedule:
    """Linear from 0 to `peak` over the first share `warmup` of the run, then half a cosine from `peak` to `end`.

    The cosine spans exactly the steps after the warm-up; the official code divides by all steps, so it never ends.
    """
    falling: Schedule = CosineParamScheduler(peak, end)
    if warmup == 0:
        return falling
    whole: Schedule = CompositeParamScheduler(
        [LinearParamScheduler(0.0, peak), falling],
        lengths=[warmup, 1 - warmup],
        interval_scaling=["rescaled", "rescaled"],
    )
    return whole


def target_momentum(start: float, end: float = 1.0) -> Schedule:
    """end - (end-start)(cos(πt)+1)/2 for t from 0 to 1: from `start` to `end`, 1 in the official code and in BYOL."""
    schedule: Schedule = CosineParamScheduler(start, end)
    return schedule


def at_batch(schedule: Schedule, batch_size: int, reference: int | None) -> Schedule:
    """A schedule of the target's momentum for batches of `reference` images, carried over to another size."""
    if reference is None:
        return schedule
    return lambda where: momentum_at(schedule(where), batch_size, reference)
