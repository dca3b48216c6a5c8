"""Curves along training: the paper's Figures 2 and 3 in its layout, then the optimiser and the speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from transfer.report.collect.run_names import name_runs
from transfer.report.collect.search import Collected, PretrainingRun
from transfer.report.render.charts import Chart, Line
from transfer.report.render.document import Block, Charts, Text
from transfer.report.sections import Section

IN_A_ROW, WITH_MANY_LINES = 4, 2  # panels; four as in the paper, where that leaves them room
MANY = 5  # lines


@dataclass(frozen=True)
class Panel:
    """One chart to be, of panels.yaml.

    Args:
        key: file name and identity.
        title: over it.
        meaning: one clause under the title.
        quantities: keys of metrics.jsonl, each with its name in the legend, "" where the run's name says enough.
        unit: of the values.
        needs: what a run must have been given so that it measures this, "" where every run does.
    """

    key: str
    title: str
    meaning: str
    quantities: dict[str, str]
    unit: str = ""
    needs: str = ""


PANELS = {
    figure: tuple(Panel(**panel) for panel in panels)
    for figure, panels in yaml.safe_load((Path(__file__).parent / "panels.yaml").read_text(encoding="utf-8")).items()
}


def figure_2(data: Collected) -> list[Block] | None:
    """The features along training, and which run lacks which panel."""
    if not _logged(data):
        return None
    drawn = charts(data.runs, PANELS["figure_2"])
    blocks: list[Block] = [Charts(tuple(drawn), _columns(drawn))] if drawn else []
    return blocks + _unmeasured(data.runs, PANELS["figure_2"], drawn)


def figure_3(data: Collected) -> list[Block] | None:
    """What the simplifications of DirectPred, Barlow Twins and VICReg rest on."""
    if not _logged(data):
        return None
    drawn = charts(data.runs, PANELS["figure_3"])
    blocks: list[Block] = [Charts(tuple(drawn), _columns(drawn), legend="own")] if drawn else []
    return blocks + _unmeasured([], PANELS["figure_3"], drawn)


def optimisation(data: Collected) -> list[Block]:
    """The optimiser and the speed."""
    if not _logged(data):
        return [Text("No logged step was found, so there are no curves.", "note")]
    drawn = charts(data.runs, PANELS["optimisation"])
    return [Charts(tuple(drawn), IN_A_ROW)] if drawn else []


def charts(runs: Sequence[PretrainingRun], panels: Sequence[Panel]) -> list[Chart]:
    """The charts of those `panels` that any run has values for, with a line for each run that has them.

    Over epochs where every line of every run has them, else over steps. A run has the same style in all charts; where
    a panel has several quantities, its lines have styles of their own.
    """
    x_key = "epoch" if all("epoch" in line for run in runs for line in run.lines) else "step"
    drawn = []
    for panel in panels:
        lines = _lines(runs, panel, x_key)
        if lines:
            drawn.append(Chart(panel.key, panel.title, panel.meaning, x_key, panel.unit, lines))
    return drawn


def _logged(data: Collected) -> bool:
    return any(run.lines for run in data.runs)


def _columns(drawn: Sequence[Chart]) -> int:
    return WITH_MANY_LINES if any(len(chart.lines) >= MANY for chart in drawn) else IN_A_ROW


def _unmeasured(runs: Sequence[PretrainingRun], panels: Sequence[Panel], drawn: Sequence[Chart]) -> list[Block]:
    """A sentence on the panels that are left out, and one for each that lacks some of `runs`."""
    by_key = {chart.key: {line.name for line in chart.lines} for chart in drawn}
    absent = [
        panel.title + (f" (needs {panel.needs})" if panel.needs else "") for panel in panels if panel.key not in by_key
    ]
    sentences = [f"Not measured by any run and so left out: {'; '.join(absent)}."] if absent else []
    names = dict.fromkeys(entry.name for entry in name_runs(runs))
    for panel in panels:
        lacking = [name for name in names if name not in by_key.get(panel.key, names)]
        if lacking:
            sentences.append(f"{panel.title} was not measured by {'; '.join(lacking)}.")
    return [Text(" ".join(sentences), "note")] if sentences else []


def _lines(runs: Sequence[PretrainingRun], panel: Panel, x_key: str) -> tuple[Line, ...]:
    lines: list[tuple[str, Line]] = []
    for entry in name_runs(runs):
        for key, name in panel.quantities.items():
            values = [(float(step[x_key]), _value(entry.run, step, key)) for step in entry.run.lines]
            known = [(x, y) for x, y in values if y is not None]
            if known:
                x, y = zip(*known, strict=True)
                lines.append((name, Line(entry.name, x, y, entry.style)))
    if len(panel.quantities) == 1:
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
    Section("figure-2", "Figure 2: the features along training", 40, figure_2),
    Section("figure-3", "Figure 3: what the simplifications rest on", 41, figure_3),
    Section("curves", "Training curves", 42, optimisation),
)
