"""What two sweeps of the same rows say of one another, as of two widths: does a value count, or its share?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.trials.evidence.kept_sweeps import KeptSweep, RowSweep

SAME = 1.05  # of two values the ratio up to which they count as equal


@dataclass(frozen=True)
class Agreement:
    """How far what two sweeps of the same rows reached is apart, in points, over pairs of trials.

    one, other: names of the sweeps. option: of both. equal: pairs at equal values of the option. shares: pairs at equal
    multiples of the row's own value.
    """

    one: str
    other: str
    option: str
    equal: tuple[float, ...]
    shares: tuple[float, ...]


def agreements(sweeps: Sequence[KeptSweep]) -> list[Agreement]:
    """Of every two sweeps over one option that have pairs of both kinds, where the rows' own values differ.

    It tells whether an option is to be carried over as a value or as a multiple, as λ with C.
    """
    found = []
    for one, other in itertools.combinations(sweeps, 2):
        theirs = {row.row: row for row in other.rows}
        shared = [(row, theirs[row.row]) for row in one.rows if row.row in theirs]
        apart = [pair for pair in shared if not _same(pair[0].own, pair[1].own)]
        equal = tuple(gap for pair in apart for gap in _gaps(*pair, 1.0, 1.0))
        shares = tuple(gap for first, second in apart for gap in _gaps(first, second, first.own, second.own))
        if one.option == other.option and one.metric == other.metric and equal and shares:
            found.append(Agreement(one.name, other.name, one.option, equal, shares))
    return found


def _gaps(one: RowSweep, other: RowSweep, unit: float, others_unit: float) -> Iterator[float]:
    """Absolute differences of what two reached at values that are the same in these units."""
    for value, top in one.reached.items():
        for their_value, their_top in other.reached.items():
            if _same(value / unit, their_value / others_unit):
                yield abs(top - their_top)


def _same(one: float, other: float) -> bool:
    return one > 0 < other and max(one, other) / min(one, other) < SAME
