"""The page of evidence: kept tables, their curves, and a verdict on each claim."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pretrain.runtime.files import write_text
from tools.trials.comparison.table import TableRow
from tools.trials.evidence.agreement import SAME, agreements
from tools.trials.evidence.claims import Claim, Difference, judge
from tools.trials.evidence.kept import METRICS, SIGNS, KeptTable
from tools.trials.evidence.kept_sweeps import NEAR, KeptSweep
from transfer.report.collect.trials import ABSENT, Summary
from transfer.report.render.charts import Chart, Line, svg_file
from transfer.report.render.sweeps import value_text

HERE = Path(__file__).parent
CURVES = {  # k-NN along the run, and what tells a collapse
    "k-NN top-1": ("%", "of the trunk's features, on the images of run.knn_images"),
    "mean cosine of negative pairs": ("", "1 where all embeddings have become one"),
    "effective rank": ("", "of the embeddings"),
}


def write_page(
    tables: Sequence[KeptTable],
    sweeps: Sequence[KeptSweep],
    claims: Sequence[Claim],
    page: Path,
    figures: Path,
    reading: str = "",
) -> Path:
    """Write the page and its figures, FIGURES/evidence_TABLE_N.svg and FIGURES/evidence_SWEEP.svg.

    Args:
        tables: as they are kept.
        sweeps: as they are kept.
        claims: about their rows; those of absent rows are listed as not measured.
        page: the Markdown file.
        figures: a folder near it.
        reading: Markdown for below the verdicts, what they say to those who measured them.
    """
    drawn = {table.name: charts(table) for table in tables}
    swept = {sweep.name: sweep.chart() for sweep in sweeps}
    for chart in [*(chart for of in drawn.values() for chart in of), *swept.values()]:
        write_text(figures / f"{chart.key}.svg", svg_file(chart))
    by_name = {table.name: table for table in tables}
    judged = {claim: judge(claim, by_name) for claim in claims}
    verdicts = [(metrics, [one for one in judged.values() if one and one.metrics is metrics]) for metrics in METRICS]
    jinja = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    jinja.globals |= {"summary": summary, "gaps": gaps, "difference": difference, "signed": signed, "signs": SIGNS}
    jinja.filters["value_text"] = value_text
    known = {
        "tables": tables,
        "charts": drawn,
        "sweeps": sweeps,
        "swept": swept,
        "near": NEAR,
        "agreements": agreements(sweeps),
        "same": f"{SAME - 1:.0%}",
        "verdicts": [(metrics, of) for metrics, of in verdicts if of],
        "open": [claim for claim, one in judged.items() if one is None],
        "reading": reading.strip(),
        "figures": figures.relative_to(page.parent).as_posix(),
    }
    return write_text(page, jinja.get_template("evidence.md.j2").render(known))


def charts(table: KeptTable) -> list[Chart]:
    """The curves of a table, a line for each row: the mean over its seeds."""
    found = []
    for number, (name, (unit, meaning)) in enumerate(CURVES.items()):
        rows = [row for row in table.rows.values() if any(name in of for of in row.curves.values())]
        lines = tuple(_line(row, name, style) for style, row in enumerate(rows))
        if lines:
            title = f"{name[0].upper()}{name[1:]}"
            found.append(Chart(f"evidence_{table.name}_{number}", title, meaning, "epoch", unit, lines))
    return found


def _line(row: TableRow, name: str, style: int) -> Line:
    """Of a row, at the epochs that all of its seeds have."""
    seeds = [dict(zip(of["epoch"], of[name], strict=True)) for of in row.curves.values() if name in of]
    shared = [epoch for epoch in seeds[0] if epoch is not None and all(epoch in of for of in seeds)]
    values = [[of[epoch] for of in seeds] for epoch in shared]
    means = (statistics.fmean(v) if None not in v else math.nan for v in values)  # type: ignore[arg-type]
    return Line(row.row, tuple(shared), tuple(means), style)


def summary(row: TableRow, metric: str, digits: int = 1) -> str:
    """ "41.2 ± 0.4 (n=3)"."""
    values = row.readings.get(metric)
    return Summary(tuple(values.values())).text(digits) if values else ABSENT


def gaps(points: Sequence[float]) -> str:
    """ "1.2 points on average and 2.4 at most (18 pairs)"."""
    pairs = f"{len(points)} pair{'s' * (len(points) != 1)}"
    return f"{statistics.fmean(points):.1f} points on average and {max(points):.1f} at most ({pairs})"


def difference(found: Difference | None) -> str:
    """ "+2.1 ± 0.3 [+1.4, +2.8] (n=3)": mean, deviation over seeds, 95 % interval of the mean."""
    if found is None:
        return ABSENT
    if len(found.each) == 1:
        return f"{signed(found.mean)} (n=1)"
    return f"{signed(found.mean)} ± {found.std:.1f} [{signed(found.low)}, {signed(found.high)}] (n={len(found.each)})"


def signed(value: float | None) -> str:
    """ "+2.1"; a 0 of either side is "+0.0"."""
    return ABSENT if value is None else f"{round(value, 1) + 0.0:+.1f}"
