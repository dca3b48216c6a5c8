"""What a step of each row of Table 2 costs beside the official code's formulation.

A step is one call of the objective with rows (2, n, C) of both branches, and its backward to the rows. Where the
official code has the row, a speed is given only if the gradients agree: in float64 on small rows, and in float32 on
the rows that are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from pretrain import methods
from tools.benchmarks import timing
from tools.benchmarks.reference import equivalence
from tools.benchmarks.reference.equivalence import OFFICIAL, TOLERANCE, Make, OfficialStep, OurStep
from tools.benchmarks.timing import Spread

SELDOM = 50  # steps between two eighs in the second line of rows that have a predictor_every


@dataclass(frozen=True)
class Cost:
    """Seconds of a step of `row`, and of the official formulation where there is one.

    ratio: of the two times of a round, ours over official. gaps: relative difference of the gradients by precision.
    note: why there is no time, or what the row's name does not say.
    """

    row: str
    letter: str
    width: int
    rows_per_rank: int
    seconds: Spread | None = None
    official: Spread | None = None
    ratio: Spread | None = None
    gaps: dict[str, float] | None = None
    note: str = ""

    @property
    def refused(self) -> bool:
        """Whether a speed is withheld because the gradients do not agree."""
        return self.gaps is not None and not _agree(self.gaps)


@dataclass(frozen=True)
class Size:
    """Where costs are taken: C, n rows of a view on this rank, and the device."""

    width: int
    rows_per_rank: int
    device: torch.device


def measure(
    names: list[str],
    size: Size,
    repeats: int,
    eigh_up_to: int,
    tell: Callable[[str], None],
    official: dict[str, Make] = OFFICIAL,
) -> Iterator[Cost]:
    """Costs of the rows called `names`, in their order, at one size.

    Args:
        names: rows of Table 2, as in method.name.
        size: C, rows on this rank, and the device.
        repeats: rounds, each of one step of every contender.
        eigh_up_to: largest C at which rows with an eigh are run.
        tell: is given a sentence before the measurement, which takes long.
        official: by name, what makes the official code's loss.
    """
    too_wide = [name for name in names if _has_eigh(name) and size.width > eigh_up_to]
    run = [name for name in names if name not in too_wide]
    rows = equivalence.draw(size.width, size.rows_per_rank, size.device, torch.float32)
    ours = {name: OurStep(name, rows[0]).feed(rows) for name in run}
    ours |= {_seldom(name): OurStep(name, rows[0], predictor_every=10**9).feed(rows) for name in run if _has_eigh(name)}
    theirs = {
        name: OfficialStep(official[name](methods.balance_at(name, size.width))) for name in run if name in official
    }
    gaps = {
        name: {
            "float64": equivalence.small_difference(name, official[name]),
            "float32": equivalence.difference(ours[name], step, [rows] * 2),
        }
        for name, step in theirs.items()
    }
    contenders: dict[str, Callable[[], object]] = {
        name: step for name, step in ours.items() if name not in gaps or _agree(gaps[name])
    }
    contenders |= {_official(name): step for name, step in theirs.items() if _agree(gaps[name])}
    round_takes = sum(timing.seconds(step, size.device) for step in list(contenders.values()) * 2) / 2
    tell(f"C {size.width}, n {size.rows_per_rank}: {repeats} rounds, about {repeats * round_takes:.0f} s")
    times = timing.take_turns(contenders, repeats, size.device)
    for name in names:
        yield from _costs(name, size, times, gaps.get(name))


def _costs(name: str, size: Size, times: dict[str, list[float]], gaps: dict[str, float] | None) -> Iterator[Cost]:
    """The lines of one row: its own, and one with a predictor that is seldom renewed where it has such."""
    costs = partial(Cost, letter=methods.find(name).letter, width=size.width, rows_per_rank=size.rows_per_rank)
    if name not in times:
        wait = f"not run: an eigh of {size.width} x {size.width} a step; --eigh-up-to {size.width} runs it"
        yield costs(name, gaps=gaps, note="no speed: the gradients differ" if gaps else wait)
        return
    ours, theirs = times[name], times.get(_official(name))
    cost = costs(name, seconds=timing.spread(ours))
    if theirs:
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        cost = replace(cost, official=timing.spread(theirs), ratio=timing.spread(ratios), gaps=gaps)
    yield cost
    if _has_eigh(name):
        without = times[_seldom(name)]
        shared = [rest + (whole - rest) / SELDOM for whole, rest in zip(ours, without, strict=True)]
        note = f"predictor_every={SELDOM}: mean of 1 step with an eigh and {SELDOM - 1} without"
        yield costs(_seldom(name), seconds=timing.spread(shared), note=note)


def _has_eigh(name: str) -> bool:
    return "predictor_every" in methods.keywords(name)


def _seldom(name: str) -> str:
    return f"{name} every {SELDOM}"


def _official(name: str) -> str:
    return f"official {name}"


def _agree(gaps: dict[str, float]) -> bool:
    return all(gap <= TOLERANCE[precision] for precision, gap in gaps.items())


HEADER = f"{'row':<31} {'C':>5} {'n':>5}  {'ms a step':<24} {'official code, ms':<24} {'ratio':<20} gradients differ by"


def line(cost: Cost) -> str:
    """One line of the table under HEADER: medians with quartiles."""
    place = f"{cost.row:<31} {cost.width:>5} {cost.rows_per_rank:>5}  "
    gaps = "" if cost.gaps is None else ", ".join(f"{gap:.0e} ({kind})" for kind, gap in cost.gaps.items())
    if cost.seconds is None:
        return f"{place}{cost.note} {gaps}".rstrip()
    official = cost.official.text(1e3, 1) if cost.official else ""
    ratio = cost.ratio.text(1, 2) if cost.ratio else ""
    return f"{place}{cost.seconds.text(1e3, 1):<24} {official:<24} {ratio:<20} {gaps or cost.note}".rstrip()
