"""The top of the report: what was trained, what is better than random initialisation, the networks side by side."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from transfer.report.collect.find import Found, PretrainingRun, finite
from transfer.report.collect.names import distinctions, evaluation_name
from transfer.report.collect.statistics import Row, difference_text, reading, value_text
from transfer.report.collect.trials import RANDOM, Measured, measured
from transfer.report.render.document import Bar, Block, Heading, Table, Text, Tile, Tiles
from transfer.report.sections.provenance import arch_name, images_name, recipe_name
from transfer.results import TASKS

MOST_RUNS = 3  # kinds of runs that are told in sentences
DETAILS = re.compile(r"^class |, std over ")  # readings that have tables further down
LEADING_ONLY = ("detection", "segmentation", "semantic", "linear", "semi")  # of which one metric stands for the others


def summary(found: Found, rows: Sequence[Row]) -> list[Block]:
    """A paragraph, a tile for each comparison with random initialisation, and the networks side by side."""
    chosen = headline(rows)
    lead = Text(" ".join([*_runs(found.runs), _verdict(rows, chosen)]), "lead")
    compared = [row for row in chosen if row.difference is not None] or chosen
    words = distinctions((of_row(row), row.protocol) for row in compared)
    named = [(row, evaluation_name(row.task, words[of_row(row), row.protocol])) for row in compared]
    if len({row.recipe for row in compared}) > 1:
        named = [(row, f"{row.recipe}: {name}") for row, name in named]
    tiles = [Tiles(tuple(_tile(row, name) for row, name in named))] if named else []
    return [lead, *tiles, *_side_by_side(measured(found.results, found.runs))]


def of_row(row: Row) -> tuple[str, str, str]:
    """What two protocols must share to be told apart in a row's name."""
    return row.task, row.dataset, row.arch


def headline(rows: Sequence[Row]) -> list[Row]:
    """Of each protocol and recipe the leading metric, among those that can be compared if there are any."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.dataset, row.protocol, row.arch, row.recipe), []).append(row)
    chosen = []
    for (task, *_), alike in groups.items():
        able = {row.metric: row for row in alike if row.difference is not None} or {row.metric: row for row in alike}
        chosen.append(able[leading(task, list(able))])
    return chosen


def leading(task: str, metrics: Sequence[str]) -> str:
    """The metric that stands for the others: the first; for segmentation the first that is about masks."""
    masks = [metric for metric in metrics if "segm" in metric] if task == "segmentation" else []
    return [*masks, *metrics][0]


def _runs(runs: Sequence[PretrainingRun]) -> list[str]:
    alike: dict[str, list[PretrainingRun]] = {}
    for run in runs:
        alike.setdefault(_trained(run), []).append(run)
    if not runs:
        return ["No pretraining run was found below the given folders."]
    if len(alike) > MOST_RUNS:
        return [f"{len(runs)} pretraining runs of {len(alike)} kinds, listed under Provenance."]
    return [f"{len(of_one)} runs: {words}" if len(of_one) > 1 else words for words, of_one in alike.items()]


def _trained(run: PretrainingRun) -> str:
    seen, epoch = run.images_seen(), run.last("epoch")
    length = f"{seen:,} images seen" if seen is not None else "number of images seen unknown"
    if finite(epoch):
        length += f" ({epoch:.4g} epochs)"
    arch = arch_name(str(run.setting("model.arch", "unknown")))
    return f"{recipe_name(run)} trained a {arch} on {images_name(run)}, {length}."


def _verdict(rows: Sequence[Row], chosen: Sequence[Row]) -> str:
    """How many of the headline numbers are better and worse than random initialisation, and how sure that is."""
    counts = Counter(reading(row) for row in chosen if row.difference is not None)
    if counts:
        told = ", ".join(f"{times} {words.replace(', ', ' ')}" for words, times in sorted(counts.items()))
        return f"Of {counts.total()} numbers beside those of the same network at random initialisation: {told}."
    if rows:
        return "No protocol has both a pretrained and a random result, so nothing can be compared."
    return "No downstream result was found, so nothing is known yet about what the features are worth."


def _tile(row: Row, name: str) -> Tile:
    words = reading(row)
    tone = "good" if words.startswith("better") else "bad" if words.startswith("worse") else "open"
    tone = "open" if "single" in words else tone
    sides = [(name, side) for name, side in (("random", row.random), ("pretrained", row.pretrained)) if side]
    scale = max([side.mean + (side.std or 0.0) for _, side in sides] + [1e-9])
    bars = tuple(
        Bar(name, value_text(side), max(0.0, side.mean / scale), (side.std or 0.0) / scale) for name, side in sides
    )
    protocol = re.split("[:;] ", row.protocol)[0]
    context = " · ".join(filter(None, (row.dataset, arch_name(row.arch), protocol, row.recipe)))
    return Tile(f"{name}, {row.metric}", context, difference_text(row), words, tone, bars)


def _side_by_side(ours: Sequence[Measured]) -> list[Block]:
    """A table for each data set and input size, the fullest first: an evaluation a row, a network a column."""
    tables: dict[str, list[Measured]] = {}
    for one in sorted(ours, key=lambda one: (TASKS.index(one.first.task), one.first.protocol)):
        size = one.first.settings.get("image_size")
        tables.setdefault(one.first.dataset + (f" at {size} px" if size else ""), []).append(one)
    fullest = sorted(tables.items(), key=lambda table: -len(table[1]))
    shown = [table for caption, together in fullest if (table := _table(caption, together)).rows]
    return [Heading("Every network side by side", "networks"), *shown] if shown else []


def _table(caption: str, ours: Sequence[Measured]) -> Table:
    networks = sorted({(one.first.arch, one.recipe) for one in ours}, key=lambda pair: (pair[1] != RANDOM, *pair))
    words = distinctions((one.first.task, one.first.protocol) for one in ours)
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for one in ours:
        task, network = one.first.task, (one.first.arch, one.recipe)
        name = evaluation_name(task, words[task, one.first.protocol])
        metrics = [metric for metric in one.metrics() if not DETAILS.search(metric)]
        for metric in [leading(task, metrics)] if metrics and task in LEADING_ONLY else metrics:
            label = next(label for label in _labels(name) if network not in rows.get((label, metric), {}))
            rows.setdefault((label, metric), {})[network] = one.cell(metric)
    cells = tuple((*row, *(found.get(network, "—") for network in networks)) for row, found in rows.items())
    columns = ("Evaluation", "Metric", *(f"{arch_name(arch)}, {recipe}" for arch, recipe in networks))
    return Table(caption, columns, cells, frozenset(range(2, len(columns))), 1)


def _labels(name: str) -> Iterator[str]:
    """What results of one name are called that differ in their settings or in the number of their images."""
    yield name
    yield from (f"{name}, other settings or data {number}" for number in itertools.count(2))
