"""The report's sections on training: the paper's Figures 2 and 3 in its layout, then the optimiser and the speed."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.find import PretrainingRun
from transfer.report.collect.run_labels import label
from transfer.report.render.document import Block, Charts, Heading, Text
from transfer.report.render.charts import Chart
from transfer.report.sections.figures import FIGURE_2, FIGURE_3, OPTIMISATION, Panel, charts

IN_A_ROW, WITH_MANY_LINES = 4, 2  # panels; four as in the paper, where that leaves them room
MANY = 5  # lines


def training(runs: Sequence[PretrainingRun]) -> list[Block]:
    """Figure 2, Figure 3 and the training curves, each quantity once; what no run measured is named, not drawn."""
    heading = Heading("Training curves", "curves")
    if not any(run.lines for run in runs):
        return [heading, Text("No logged step was found, so there are no curves.", "note")]
    similarity, checks = charts(runs, FIGURE_2), charts(runs, FIGURE_3)
    return [
        Heading("Figure 2: the features along training", "figure-2"),
        *([Charts(tuple(similarity), _columns(similarity))] if similarity else []),
        *_unmeasured(runs, FIGURE_2, similarity),
        Heading("Figure 3: what the simplifications rest on", "figure-3"),
        *([Charts(tuple(checks), _columns(checks), legend="own")] if checks else []),
        *_unmeasured([], FIGURE_3, checks),
        heading,
        *([Charts(tuple(rest), IN_A_ROW)] if (rest := charts(runs, OPTIMISATION)) else []),
    ]


def _columns(drawn: Sequence[Chart]) -> int:
    return WITH_MANY_LINES if any(len(chart.lines) >= MANY for chart in drawn) else IN_A_ROW


def _unmeasured(runs: Sequence[PretrainingRun], panels: Sequence[Panel], drawn: Sequence[Chart]) -> list[Block]:
    """A sentence on the panels that are left out, and one for each that lacks some of `runs`."""
    by_key = {chart.key: {line.name for line in chart.lines} for chart in drawn}
    absent = [
        panel.title + (f" (needs {panel.needs})" if panel.needs else "") for panel in panels if panel.key not in by_key
    ]
    sentences = [f"Not measured by any run and so left out: {'; '.join(absent)}."] if absent else []
    labels = dict.fromkeys(entry.label for entry in label(runs))
    for panel in panels:
        lacking = [text for text in labels if text not in by_key.get(panel.key, labels)]
        if lacking:
            sentences.append(f"{panel.title} was not measured by {'; '.join(lacking)}.")
    return [Text(" ".join(sentences), "note")] if sentences else []
