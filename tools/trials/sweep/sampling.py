"""Who proposes the next values, and who ends a trial early: Optuna's samplers and pruners by the names of SWEEP.yaml.

A sampler is made anew for each trial, from the sweep's seed and the trial's number. So what a trial gets does not
depend on how often the sweep was interrupted before.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pretrain.runtime.options import option

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


def _tpe(startup: int, seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna 4 calls constant_liar experimental
        return TPESampler(n_startup_trials=startup, multivariate=False, constant_liar=True, seed=seed)


def _random(startup: int, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _median(startup: int, warmup: int) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)  # measurements count from 1


def _none(startup: int, warmup: int) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


GRID = "grid"  # every combination is put into the queue at the start, so its sampler has nothing to propose
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {"tpe": _tpe, "random": _random, GRID: _random}
PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {"median": _median, "none": _none}


@dataclass
class SamplerOptions:
    """Who proposes values."""

    name: str = option("tpe", "tpe: by what did well so far; random; grid: every combination", choices=tuple(SAMPLERS))
    startup: int = option(10, "trials of a row before tpe begins to propose", at_least=1)


@dataclass
class PrunerOptions:
    """Who ends trials early."""

    name: str = option("median", "median: below the median of the trials that went on; none", choices=tuple(PRUNERS))
    startup: int = option(5, "trials of a row that end on their own before", at_least=1)
    warmup: int = option(1, "measurements of a trial that never end it", at_least=0)


@dataclass
class Sampling:
    """Both, with the seed of what is drawn."""

    sampler: SamplerOptions = field(default_factory=SamplerOptions)
    pruner: PrunerOptions = field(default_factory=PrunerOptions)
    seed: int = option(0, "of the proposals, not of the runs", at_least=0)

    def make_sampler(self, row: str, number: int) -> BaseSampler:
        """For trial `number` of `row`."""
        drawn = hashlib.sha256(f"{self.seed} {row} {number}".encode()).digest()
        return SAMPLERS[self.sampler.name](self.sampler.startup, int.from_bytes(drawn[:4], "big"))

    def make_pruner(self) -> BasePruner:
        """For all trials of a row."""
        return PRUNERS[self.pruner.name](self.pruner.startup, self.pruner.warmup)
