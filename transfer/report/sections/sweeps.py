"""Sweeps: what was searched, the best of every row, each trial as a line over all axes, and all trials in a table."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.report.collect.search import Collected
from transfer.report.collect.sweeps import COMPLETE, Sweep
from transfer.report.render.document import Block, block, heading, note, table
from transfer.report.render.parallel import Axis, Parallel, Strand
from transfer.report.render.sweeps import TITLES, all_rows, best_rows, value_text
from transfer.report.sections import Section, sentence


def build(data: Collected) -> Iterator[Block]:
    """A table, a picture and another table for each sweep."""
    for number, sweep in enumerate(data.sweeps):
        yield heading(sweep.folder.name, f"sweep-{number}")
        yield note(sentence("sweeps", "how", sweep=sweep, metric=TITLES[sweep.metric]))
        numeric = [TITLES[sweep.metric], *(one for name in sweep.options() for one in (name, f"{name} of the row"))]
        yield table(sentence("sweeps", "best", sweep=sweep), best_rows(sweep), numeric)
        if (picture := parallel(sweep, f"sweep_{number}")) is not None:
            caption = sentence("sweeps", "picture", sweep=sweep, rows=len(sweep.rows))
            yield block("Parallel", picture=picture, caption=caption)
        yield table(sentence("sweeps", "all", sweep=sweep), all_rows(sweep), [*numeric, "Measurements"], merged=1)


def parallel(sweep: Sweep, key: str) -> Parallel | None:
    """A sweep as parallel coordinates; None before anything was measured."""
    values = [trial.value for trial in sweep.trials if trial.value is not None]
    if not values:
        return None
    rows = tuple(row.row for row in reversed(sweep.rows))
    spread = (max(values) - min(values)) * 0.05 or 1.0
    metric = Axis(f"{TITLES[sweep.metric]}, %", min(values) - spread, max(values) + spread)
    axes = (*([Axis("row", names=rows)] if len(rows) > 1 else []), *(_axis(sweep, name) for name in sweep.options()))
    best = {row: found.name for row in rows if (found := sweep.best(row))}
    strands = tuple(
        Strand(
            (
                *([trial.row] if len(rows) > 1 else []),
                *(trial.params.get(name) for name in sweep.options()),
                trial.value,
            ),
            trial.row,
            trial.state != COMPLETE,
            best.get(trial.row) == trial.name,
        )
        for trial in sweep.trials
    )
    told = sentence("sweeps", "told", sweep=sweep, text=value_text)
    return Parallel(key, f"Sweep {sweep.folder.name}", told, (*axes, metric), strands)


def _axis(sweep: Sweep, name: str) -> Axis:
    """One option over the ranges of all rows."""
    ranges = [row.ranges[name] for row in sweep.rows if name in row.ranges]
    if words := dict.fromkeys(str(choice) for ranged in ranges for choice in ranged["choices"]):
        return Axis(name, names=tuple(words))
    low, high = min(ranged["low"] for ranged in ranges), max(ranged["high"] for ranged in ranges)
    return Axis(name, low, high, log=all(ranged["log"] for ranged in ranges))


SECTIONS = (Section("sweeps", "Sweeps", 8, build),)
