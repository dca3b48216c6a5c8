"""Claims of the paper as differences between rows, each judged by a paired test over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from tools.trials.evidence.kept import KeptTable
from transfer.report.collect.bootstrap import STUDENT

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


@dataclass(frozen=True)
class Claim:
    """What is said of two rows of one table: the first is better than the second, or is enough, or both are alike.

    sentence: in words. table: a kept table's name. first, second: rows of it. margin: how many points the first may
    stay behind; 0 where it is to be better. alike: whether it may not be further ahead than that either. second_table:
    where the second row stands if not in `table`, as where the runs have equal time and not equal epochs.
    """

    sentence: str
    table: str
    first: str
    second: str
    margin: float = 0.0
    alike: bool = False
    second_table: str = ""

    @property
    def tables(self) -> list[str]:
        """Names of the tables that it needs, each once."""
        return list(dict.fromkeys([self.table, self.second_table or self.table]))


@dataclass(frozen=True)
class Difference:
    """First minus second row, in points, over seeds of both. low, high: its 95 % interval, by Student's t."""

    each: tuple[float, ...]
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.each)

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; not a number for one seed."""
        return statistics.stdev(self.each) if len(self.each) > 1 else math.nan


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured, by metric of its table. published: the paper's difference, None where it gives
    none.
    """

    claim: Claim
    metrics: Mapping[str, str]
    differences: Mapping[str, Difference]
    published: float | None
    verdict: str


def read_claim(entry: Mapping[str, Any], path: Path) -> Claim:
    """The claim with these fields.

    Args: path, the file that has it, for messages.

    Raises:
        TypeError: a field is missing, or is none.
        UserError: nothing could show what it says.
    """
    claim = Claim(**entry)
    if claim.margin < 0 or (claim.alike and not claim.margin):  # nothing could show two rows to be the same
        least = "more than 0" if claim.alike else "0 or more"
        raise UserError(f"{path}: the margin of '{claim.sentence}' is {claim.margin}: give {least} points.")
    return claim


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """The difference of values by seed over the seeds of both; None where they share none.

    Two seeds or more have an interval, mean ± t · s / sqrt(n); a single one has an unbounded one.
    """
    each = tuple(first[seed] - second[seed] for seed in sorted(set(first) & set(second)))
    if not each:
        return None
    if len(each) == 1:
        return Difference(each, -math.inf, math.inf)
    half = STUDENT[min(len(each) - 1, len(STUDENT)) - 1] * statistics.stdev(each) / math.sqrt(len(each))
    return Difference(each, statistics.fmean(each) - half, statistics.fmean(each) + half)


def verdict(claim: Claim, found: Difference | None) -> str:
    """ "holds" where all of the interval agrees with the claim, "does not hold" where none of it does, else open."""
    if found is None:
        return OPEN
    low, high = -claim.margin, claim.margin if claim.alike else math.inf
    if low < found.low and found.high < high:
        return HOLDS
    return FAILS if found.high < low or found.low > high else OPEN


def judge(claim: Claim, tables: Mapping[str, KeptTable]) -> Judged | None:
    """What a claim's tables say of it, by name; None where one is not kept, or lacks its row.

    The verdict is by the first metric of the claim's table.
    """
    rows = {name: tables[name].rows for name in claim.tables if name in tables}
    first = rows.get(claim.table, {}).get(claim.first)
    second = rows.get(claim.second_table or claim.table, {}).get(claim.second)
    if first is None or second is None:
        return None
    metrics = tables[claim.table].metrics
    pairs = {name: paired(first.readings.get(name, {}), second.readings.get(name, {})) for name in metrics}
    found = {name: difference for name, difference in pairs.items() if difference}
    published = None  # nor has the paper a difference between rows of two settings
    if first.published is not None and second.published is not None and not claim.second_table:
        published = first.published - second.published
    return Judged(claim, metrics, found, published, verdict(claim, found.get(next(iter(metrics)))))
