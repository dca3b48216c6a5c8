"""Curves along training: the paper's Figures 2 and 3 in its layout, then the optimiser and the speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from transfer.report.collect.files import PretrainingRun
from transfer.report.collect.names import name_runs
from transfer.report.collect.search import Collected
from transfer.report.render.charts import Chart, Line
from transfer.report.render.document import Block, block, note
from transfer.report.sections import Section, sentence

IN_A_ROW, WITH_MANY_LINES = 4, 2  # panels; four as in the paper, where that leaves them room
MANY = 5  # lines
# by figure, each chart to be; the file says what its values are
PANELS: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("panels.yaml").read_text("utf-8"))


def build(figure: str, data: Collected) -> Iterator[Block]:
    """The curves of one figure, and what was not measured; only the last figure says that there are no curves."""
    optimisation = figure == "optimisation"
    if not any(run.lines for run in data.runs):
        if optimisation:
            yield note("No logged step was found, so there are no curves.")
        return
    if drawn := charts(data.runs, PANELS[figure]):
        many = not optimisation and any(len(chart.lines) >= MANY for chart in drawn)
        columns, legend = WITH_MANY_LINES if many else IN_A_ROW, "own" if figure == "figure_3" else "shared"
        yield block("Charts", charts=drawn, columns=columns, legend=legend)
    names = {chart.key: {line.name for line in chart.lines} for chart in drawn}
    absent = [panel for panel in PANELS[figure] if panel["key"] not in names]
    # the panels of Figure 3 are each of one method
    every = dict.fromkeys(entry.name for entry in name_runs(data.runs if figure == "figure_2" else []))
    lacking = {chart.title: [name for name in every if name not in names[chart.key]] for chart in drawn}
    told = sentence("curves", "unmeasured", absent=absent, lacking=lacking)
    if told and not optimisation:
        yield note(told)


def charts(runs: Sequence[PretrainingRun], panels: Sequence[dict[str, Any]]) -> list[Chart]:
    """The charts of those `panels` that any run has values for, with a line for each run that has them.

    Over epochs where every line of every run has them, else over steps. A run has the same style in all charts; where
    a panel has several quantities, its lines have styles of their own.
    """
    x_key = "epoch" if all("epoch" in line for run in runs for line in run.lines) else "step"
    made = []
    for panel in panels:
        if lines := _lines(runs, panel["quantities"], x_key):
            made.append(Chart(panel["key"], panel["title"], panel["meaning"], x_key, panel.get("unit", ""), lines))
    return made


def _lines(runs: Sequence[PretrainingRun], quantities: dict[str, str], x_key: str) -> tuple[Line, ...]:
    lines: list[tuple[str, Line]] = []
    for entry in name_runs(runs):
        for key, name in quantities.items():
            values = [(float(step[x_key]), _value(entry.run, step, key)) for step in entry.run.lines]
            if known := [(x, y) for x, y in values if y is not None]:
                x, y = zip(*known, strict=True)
                lines.append((name, Line(entry.name, x, y, entry.style)))
    if len(quantities) == 1:
        return tuple(line for _, line in lines)
    alone = len({line.name for _, line in lines}) == 1
    named = [replace(line, name=name if alone else f"{line.name}: {name}") for name, line in lines]
    names = list(dict.fromkeys(line.name for line in named))
    return tuple(replace(line, style=names.index(line.name)) for line in named)


def _value(run: PretrainingRun, entry: dict[str, Any], key: str) -> float | None:
    """A logged value in the panel's unit, None where there is none."""
    value = entry.get("negative" if key == "energy" else key)
    if not isinstance(value, int | float):
        return None
    if key == "energy":  # Eq. 15 is UniGrad's; in other methods the negative term means other things
        balance = run.setting("method.balance")
        return value / balance if run.setting("method.name") == "unigrad" and balance else None
    return 100.0 * value if key == "data_wait" else value


SECTIONS = (
    Section("figure-2", "Figure 2: the features along training", 40, partial(build, "figure_2")),
    Section("figure-3", "Figure 3: what the simplifications rest on", 41, partial(build, "figure_3")),
    Section("curves", "Training curves", 42, partial(build, "optimisation")),
)
