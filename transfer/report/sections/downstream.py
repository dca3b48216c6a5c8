"""What was measured downstream: every network side by side, and every metric against random initialisation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transfer.report.collect.names import RANDOM, arch_name, evaluation_names, numbered
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import ABSENT, Trials, compare, group_trials
from transfer.report.render.document import Block, block, note, table
from transfer.report.sections import Section, cells, sentence
from transfer.results import TASKS
from transfer.tasks import shown_metrics

NUMBERS = ("Random init", "Starting weights", "Pretrained", "Difference", "Over the start")
DETAILS = re.compile(r"^class |, std over ")  # readings that have tables further down


def networks(data: Collected) -> Iterator[Block]:
    """A table for each data set and input size, the fullest first: an evaluation a row, a network a column."""
    tables: dict[str, list[Trials]] = {}
    ours = group_trials(data.results, data.runs)
    for one in sorted(ours, key=lambda one: (TASKS.index(one.first.task), one.first.protocol)):
        size = one.first.settings.get("image_size")
        tables.setdefault(one.first.dataset + (f" at {size} px" if size else ""), []).append(one)
    for caption, together in sorted(tables.items(), key=lambda table: -len(table[1])):
        columns = sorted({(one.recipe != RANDOM, one.first.arch, one.recipe, one.network) for one in together})
        names = [name for *_, name in columns]
        evaluations = evaluation_names((one.first.task, one.first.protocol) for one in together)
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for one in together:
            task, evaluation = one.first.task, evaluations[one.first.task, one.first.protocol]
            for metric in shown_metrics(task, [metric for metric in one.metrics() if not DETAILS.search(metric)]):
                labels = numbered(evaluation)
                label = next(label for label in labels if one.network not in rows.get((label, metric), {}))
                row = rows.setdefault((label, metric), {"Evaluation": label, "Metric": metric})
                row[one.network] = one.cell(metric)
        empty = dict.fromkeys(("Evaluation", "Metric", *names), ABSENT)
        if rows:
            yield table(caption, [empty | row for row in rows.values()], names, merged=1)


def against_random(data: Collected) -> Iterator[Block]:
    """A table for each network, then what a reader must know before trusting a comparison."""
    rows = compare(data.results, data.runs)
    if not rows:
        yield note("No downstream result was found.")
        return
    yield note(sentence("downstream", "how"))
    for arch in dict.fromkeys(row.of.arch for row in rows):
        alike = [row for row in rows if row.of.arch == arch]
        recipes = list(dict.fromkeys(row.of.recipe for row in alike if row.of.recipe))
        caption = arch_name(arch) + (f", pretrained with {recipes[0]}" if len(recipes) == 1 else "")
        shown = [cells("comparison", row=row) for row in alike]
        left_out = ["Pretraining"] * (len(recipes) < 2)
        left_out += ["Starting weights", "Over the start"] * all(row.start is None for row in alike)
        left_out += ["Over images"] * all(row.images is None for row in alike)
        left_out += ["Over seeds"] * all(row.seeds is None for row in alike)
        for texts in shown:
            for name in left_out:
                del texts[name]
        yield table(caption, shown, NUMBERS, merged=list(shown[0]).index("Metric"))
    names = evaluation_names(row.of.key for row in rows)
    remarks = [(row.of, words) for row in rows for words in row.of.remarks(row.metric)]
    if remarks:
        told = (f"{names[of.key]} on {of.dataset}: {words}." for of, words in remarks)
        yield block("Bullets", items=dict.fromkeys(told))


SECTIONS = (
    Section("networks", "Every network side by side", 10, networks),
    Section("downstream", "Downstream, pretrained against random initialisation", 60, against_random),
)
