"""Every network in a column of its own, and the random one first."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from transfer.report.collect.names import arch_name, distinctions, evaluation_name
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import RANDOM, Trials, group_trials
from transfer.report.render.document import Block, Table
from transfer.report.sections import Section
from transfer.results import TASKS
from transfer.tasks import shown_metrics

DETAILS = re.compile(r"^class |, std over ")  # readings that have tables further down


def build(data: Collected) -> list[Block] | None:
    """A table for each data set and input size, the fullest first: an evaluation a row, a network a column."""
    tables: dict[str, list[Trials]] = {}
    for one in sorted(
        group_trials(data.results, data.runs), key=lambda one: (TASKS.index(one.first.task), one.first.protocol)
    ):
        size = one.first.settings.get("image_size")
        tables.setdefault(one.first.dataset + (f" at {size} px" if size else ""), []).append(one)
    fullest = sorted(tables.items(), key=lambda table: -len(table[1]))
    shown = [table for caption, together in fullest if (table := _table(caption, together)).rows]
    return [*shown] or None


def _table(caption: str, ours: Sequence[Trials]) -> Table:
    networks = sorted({(one.first.arch, one.recipe) for one in ours}, key=lambda pair: (pair[1] != RANDOM, *pair))
    words = distinctions((one.first.task, one.first.protocol) for one in ours)
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for one in ours:
        task, network = one.first.task, (one.first.arch, one.recipe)
        name = evaluation_name(task, words[task, one.first.protocol])
        metrics = [metric for metric in one.metrics() if not DETAILS.search(metric)]
        for metric in shown_metrics(task, metrics):
            label = next(label for label in _labels(name) if network not in rows.get((label, metric), {}))
            rows.setdefault((label, metric), {})[network] = one.cell(metric)
    cells = tuple((*row, *(values.get(network, "—") for network in networks)) for row, values in rows.items())
    columns = ("Evaluation", "Metric", *(f"{arch_name(arch)}, {recipe}" for arch, recipe in networks))
    return Table(caption, columns, cells, frozenset(range(2, len(columns))), 1)


def _labels(name: str) -> Iterator[str]:
    """What results of one name are called that differ in their settings or in the number of their images."""
    yield name
    yield from (f"{name}, other settings or data {number}" for number in itertools.count(2))


SECTIONS = (Section("networks", "Every network side by side", 10, build),)
