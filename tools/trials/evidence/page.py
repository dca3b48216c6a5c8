"""The page of evidence: topic by topic a verdict on each claim, kept tables and their curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pretrain.runtime.files import write_text
from tools.trials.comparison.table import TableRow
from tools.trials.evidence.agreement import SAME, Agreement, agreements
from tools.trials.evidence.claims import FAILS, HOLDS, OPEN, Claim, Difference, Judged, judge
from tools.trials.evidence.kept import METRICS, SIGNS, KeptTable
from tools.trials.evidence.kept_sweeps import NEAR, KeptSweep
from tools.trials.evidence.topics import Topic
from transfer.report.collect.trials import ABSENT, Summary
from transfer.report.render.charts import Chart, Line, svg_file
from transfer.report.render.sweeps import value_text

HERE = Path(__file__).parent
FURTHER = "Further runs"
CURVES = {  # k-NN along the run, and what tells a collapse
    "k-NN top-1": ("%", "of the trunk's features, on the images of run.knn_images"),
    "mean cosine of negative pairs": ("", "1 where all embeddings have become one"),
    "effective rank": ("", "of the embeddings"),
}


@dataclass(frozen=True)
class Section:
    """A topic with all that belongs to it. verdicts: of its claims with a verdict, by the metrics of their tables.
    open: its claims without one.
    """

    topic: Topic
    verdicts: list[tuple[Mapping[str, str], list[Judged]]]
    open: list[Claim]
    tables: list[KeptTable]
    sweeps: list[KeptSweep]
    agreements: list[Agreement]

    def count(self, verdict: str) -> int:
        """How many of its claims have this verdict."""
        return sum(one.verdict == verdict for _, of in self.verdicts for one in of)


def sections(topics: Sequence[Topic], tables: Sequence[KeptTable], sweeps: Sequence[KeptSweep]) -> list[Section]:
    """The topics with what is kept; what none of them names stands in a last section of its own."""
    named = {name for topic in topics for name in (*topic.tables, *topic.sweeps)}
    rest = [tuple(one.name for one in kept if one.name not in named) for kept in (tables, sweeps)]
    further = [Topic(FURTHER, "", "", "", (), *rest)] if any(rest) else []
    return [_section(topic, tables, sweeps) for topic in [*topics, *further]]


def _section(topic: Topic, tables: Sequence[KeptTable], sweeps: Sequence[KeptSweep]) -> Section:
    by_name, swept = {table.name: table for table in tables}, {sweep.name: sweep for sweep in sweeps}
    judged = {claim: judge(claim, by_name) for claim in topic.claims}
    verdicts = [(metrics, [one for one in judged.values() if one and one.metrics is metrics]) for metrics in METRICS]
    own_sweeps = [swept[name] for name in topic.sweeps if name in swept]
    return Section(
        topic,
        [(metrics, of) for metrics, of in verdicts if of],
        [claim for claim, one in judged.items() if one is None],
        [by_name[name] for name in topic.tables if name in by_name],
        own_sweeps,
        agreements(own_sweeps),
    )


def write_page(
    tables: Sequence[KeptTable], sweeps: Sequence[KeptSweep], topics: Sequence[Topic], page: Path, figures: Path
) -> Path:
    """Write the page and its figures, FIGURES/evidence_TABLE_N.svg and FIGURES/evidence_SWEEP.svg.

    Args:
        tables: as they are kept.
        sweeps: as they are kept.
        topics: in the order of the page. Claims about absent rows are listed as not measured.
        page: the Markdown file.
        figures: a folder near it.
    """
    drawn = {table.name: charts(table) for table in tables}
    swept = {sweep.name: sweep.chart() for sweep in sweeps}
    for chart in [*(chart for of in drawn.values() for chart in of), *swept.values()]:
        write_text(figures / f"{chart.key}.svg", svg_file(chart))
    jinja = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    jinja.globals |= {"summary": summary, "gaps": gaps, "difference": difference, "signed": signed, "signs": SIGNS}
    jinja.filters["value_text"] = value_text
    known = {
        "sections": sections(topics, tables, sweeps),
        "answers": (HOLDS, FAILS, OPEN),
        "charts": drawn,
        "swept": swept,
        "near": NEAR,
        "same": f"{SAME - 1:.0%}",
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
