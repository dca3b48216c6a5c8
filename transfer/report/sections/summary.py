"""The report's opening: what was trained, what came of it beside random initialisation, and one picture of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from transfer.report.collect.names import RANDOM, arch_name, evaluation_names
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Row, compare, of_last_epochs
from transfer.report.render.bars import Bars, Group
from transfer.report.render.document import Block, block
from transfer.report.sections import Section, sentence
from transfer.tasks import headline

MOST_GROUPS = 8  # evaluations that the picture shows


def build(data: Collected) -> Iterator[Block]:
    """A warning where the images are synthetic, what was trained and what came of it, and the picture."""
    if synthetic := data.synthetic_sets():
        yield block("Text", text=sentence("summary", "warning", synthetic=synthetic), style="warning")
    rows = _headlines(compare(of_last_epochs(data.results), data.runs))
    compared = [row for row in rows if row.difference is not None]
    names = evaluation_names(row.of.key for row in rows)
    kinds = Counter(sentence("summary", "run", run=run) for run in data.runs)
    readings = Counter(row.reading for row in compared)
    first = compared[0] if compared else None
    told = {"readings": readings, "measured": rows, "row": first, "name": names[first.of.key] if first else ""}
    texts = sentence("summary", "trained", kinds=kinds), sentence("summary", "found", **told)
    yield block("Text", text=" ".join(texts), style="lead")
    if rows:
        groups = _groups(compared or rows, names)
        caption = sentence("summary", "caption", left_out=max(0, len(groups) - MOST_GROUPS))
        yield block("Bars", bars=_picture(groups[:MOST_GROUPS]), caption=caption)


def _headlines(rows: Sequence[Row]) -> list[Row]:
    """Of each comparison the leading metric, among those that both sides have if there are any."""
    chosen = []
    for of, group in groupby(rows, key=lambda row: row.of):
        by_metric = {row.metric: row for row in group}
        able = {metric: row for metric, row in by_metric.items() if row.difference is not None} or by_metric
        chosen.append(able[headline(of.task, list(able))])
    return chosen


def _groups(rows: Sequence[Row], names: dict[tuple[str, ...], str]) -> list[Group]:
    """One for each evaluation and metric: random initialisation first, then every recipe."""
    groups: dict[tuple[object, ...], Group] = {}
    apart = {"dataset": len({row.of.dataset for row in rows}) > 1, "arch": len({row.of.arch for row in rows}) > 1}
    for row in rows:
        known = [f"on {row.of.dataset}"] * apart["dataset"] + [arch_name(row.of.arch)] * apart["arch"]
        title = ", ".join([f"{names[row.of.key]}, {row.metric}", *known])
        group = groups.setdefault((row.of.key, row.metric), Group(title, {}))
        for init, side in row.sides.items():
            group.sides[RANDOM if init == "random" else row.of.recipe] = side
    return list(groups.values())


def _picture(groups: Sequence[Group]) -> Bars:
    networks = dict.fromkeys(name for group in groups for name in group.sides)
    in_order = sorted(networks, key=lambda name: name != RANDOM)
    return Bars("opening", "What each evaluation gave", tuple(in_order), tuple(groups))


SECTIONS = (Section("summary", "", 0, build),)
