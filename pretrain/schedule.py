"""Values that change along a run, as fvcore ParamSchedulers over the share of steps done (0 to 1)."""

from __future__ import annotations

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)


def warmup_cosine(peak: float, warmup: float) -> ParamScheduler:
    """Linear from 0 to `peak` over the first share `warmup` of the run, then half a cosine from `peak` to 0.

    The cosine spans exactly the steps after the warm-up; the official code divides by all steps, so it never ends.
    """
    if warmup == 0:
        return CosineParamScheduler(peak, 0.0)
    return CompositeParamScheduler(
        [LinearParamScheduler(0.0, peak), CosineParamScheduler(peak, 0.0)],
        lengths=[warmup, 1 - warmup],
        interval_scaling=["rescaled", "rescaled"],
    )


def target_momentum(start: float) -> ParamScheduler:
    """1 - (1-start)(cos(πt)+1)/2 for t from 0 to 1: from `start` to 1 (official code; BYOL)."""
    return CosineParamScheduler(start, 1.0)
