"""Which of our numbers stand in which published table, below which row; and why the others stand in none."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.trials import Trials
from transfer.report.published import match_accuracy, match_detection
from transfer.report.published.tables import PublishedTable

MATCHERS = {"accuracy": match_accuracy.stands_below, "detection": match_detection.stands_below}


def standing_below(table: PublishedTable, ours: Sequence[Trials]) -> dict[str, list[Trials]]:
    """Ours by name of the row that they stand below, "" for the table's end."""
    below: dict[str, list[Trials]] = {}
    for one in ours:
        row = MATCHERS[table.match](one, table)
        if row is not None:
            below.setdefault(row, []).append(one)
    return below


def why_in_no_table(one: Trials) -> str:
    """Why a number stands in no published table; empty where it stands in one."""
    if one.first.task in match_detection.TASKS:
        return match_detection.why_not(one)
    return match_accuracy.why_not(one)
