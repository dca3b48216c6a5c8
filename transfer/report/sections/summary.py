"""The report's opening: what was trained, and what is better than random initialisation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from transfer.report.collect.names import arch_name, evaluation_names
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Row, compare
from transfer.report.render.document import Block, block
from transfer.report.sections import Section, sentence
from transfer.tasks import headline


def build(data: Collected) -> Iterator[Block]:
    """A warning where the images are synthetic, a paragraph, and a tile for each comparison with random weights."""
    if synthetic := data.synthetic_sets():
        yield block("Text", text=sentence("summary", "warning", synthetic=synthetic), style="warning")
    rows = _headlines(compare(data.results, data.runs))
    compared = [row for row in rows if row.difference is not None]
    kinds = Counter(sentence("summary", "run", run=run) for run in data.runs)
    readings = Counter(row.reading for row in compared)
    lead = sentence("summary", "lead", kinds=kinds, readings=readings, measured=rows)
    yield block("Text", text=lead, style="lead")
    if rows:
        yield block("Tiles", tiles=_tiles(compared or rows))


def _headlines(rows: Sequence[Row]) -> list[Row]:
    """Of each comparison the leading metric, among those that both sides have if there are any."""
    chosen = []
    for of, group in groupby(rows, key=lambda row: row.of):
        by_metric = {row.metric: row for row in group}
        able = {metric: row for metric, row in by_metric.items() if row.difference is not None} or by_metric
        chosen.append(able[headline(of.task, list(able))])
    return chosen


def _tiles(rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = evaluation_names(row.of.key for row in rows)
    several = len({row.of.recipe for row in rows}) > 1
    tiles = []
    for row in rows:
        of, protocol = row.of, re.split("[:;] ", row.of.protocol)[0]
        label = (f"{of.recipe}: " if several else "") + f"{names[of.key]}, {row.metric}"
        context = " · ".join(filter(None, (of.dataset, arch_name(of.arch), protocol, of.recipe)))
        tiles.append({"label": label, "context": context, "row": row})
    return tiles


SECTIONS = (Section("summary", "", 0, build),)
