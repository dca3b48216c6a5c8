"""A sweep as rows of tables, for the report and for the sweep's own Markdown."""

from __future__ import annotations

from typing import Any

from transfer.report.collect.sweeps import COMPLETE, FAILED, OPEN, PRUNED, Sweep, SweepTrial

TITLES = {"knn": "k-NN", "linear": "linear"}


def best_rows(sweep: Sweep) -> list[dict[str, str]]:
    """A line a row: its best trial beside the values that the row has of its own."""
    rows = []
    for row in sweep.rows:
        found, trials = sweep.best(row.row), sweep.of_row(row.row)
        line = {"Row": row.row, "Best trial": found.name if found else "", TITLES[sweep.metric]: _percent(found)}
        for name in row.ranges:
            line[name] = value_text(found.params.get(name)) if found else ""
            line[f"{name} of the row"] = value_text(row.given.get(name))
        counts = {state: sum(trial.state == state for trial in trials) for state in (COMPLETE, PRUNED, FAILED, OPEN)}
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        rows.append(line | {"Trials": f"{told or 'none'} of {row.trials}"})
    return rows


def all_rows(sweep: Sweep) -> list[dict[str, str]]:
    """A line a trial, in the order of rows and of their beginning."""
    names = sweep.options()
    return [
        {"Row": trial.row, "Trial": trial.name}
        | {name: value_text(trial.params.get(name)) for name in names}
        | {TITLES[sweep.metric]: _percent(trial), "Measurements": str(trial.measurements)}
        | {"State": f"{trial.state}: {trial.why}" if trial.why else trial.state}
        for row in sweep.rows
        for trial in sweep.of_row(row.row)
    ]


def value_text(value: Any) -> str:
    """A searched value with the digits that are read."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(trial: SweepTrial | None) -> str:
    return "" if trial is None or trial.value is None else f"{trial.value:.2f}"
