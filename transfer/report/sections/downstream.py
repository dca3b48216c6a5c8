"""Every metric of every protocol, pretrained against random initialisation."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.names import arch_name, distinctions, evaluation_name
from transfer.report.collect.search import Collected
from transfer.report.collect.statistics import Row, compare, difference_text, reading, value_text
from transfer.report.render.document import Block, Bullets, Table, Text
from transfer.report.sections import Section
from transfer.tasks import display_name

HOW_TO_READ = (
    "Numbers are percent, mean ± sample standard deviation over n results; n=1 is a single run and has no ±. The ± of "
    "a difference adds both deviations in quadrature. “Within the spread” means that the two ± ranges overlap: such a "
    "difference shows nothing. Of a single run the spread is unknown."
)


def build(data: Collected) -> list[Block]:
    """A table for each network, then what a reader must know before trusting a comparison."""
    rows = compare(data.results, data.runs)
    if not rows:
        return [Text("No downstream result was found.", "note")]
    archs = dict.fromkeys(row.arch for row in rows)
    words = distinctions((row.group, row.protocol) for row in rows)
    remarks = dict.fromkeys(
        f"{evaluation_name(row.task, words[row.group, row.protocol])} on {row.dataset}: {remark}."
        for row in rows
        for remark in row.remarks
    )
    tables = [_table(arch, [row for row in rows if row.arch == arch]) for arch in archs]
    return [Text(HOW_TO_READ, "note"), *tables, *([Bullets(tuple(remarks))] if remarks else [])]


def _table(arch: str, rows: Sequence[Row]) -> Table:
    recipes = list(dict.fromkeys(row.recipe for row in rows if row.recipe))
    several = len(recipes) > 1
    caption = f"{arch_name(arch)}" + (f", pretrained with {recipes[0]}" if len(recipes) == 1 else "")
    columns = ("Task", "Data", "Protocol", *(("Pretraining",) if several else ()), "Metric")
    cells = []
    for row in rows:
        recipe = (row.recipe or "—",) if several else ()
        values = (value_text(row.random), value_text(row.pretrained), difference_text(row), reading(row))
        cells.append((display_name(row.task), row.dataset, row.protocol, *recipe, row.metric, *values))
    first = len(columns)
    columns = (*columns, "Random init", "Pretrained", "Difference", "Reading")
    return Table(caption, columns, tuple(cells), frozenset(range(first, first + 3)), first - 1)


SECTIONS = (Section("downstream", "Downstream, pretrained against random initialisation", 60, build),)
