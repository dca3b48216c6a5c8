"""Published tables with our rows below theirs, and tables of their own for what may not stand there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transfer.report.collect.names import numbered
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Trials, epochs_text, group_trials
from transfer.report.published.tables import (
    PublishedTable,
    conditions,
    published_tables,
    related,
    standing_below,
    why_in_no_table,
)
from transfer.report.render.document import Block, block, heading, note, table
from transfer.report.sections import Section, sentence

APART, BESIDE = "Measured here, not comparable", "Beside published numbers"
NETWORK, WHY = "Network and pretraining", "Why it stands in no table of the paper"
MOST = 8  # metrics of a protocol that stand side by side


def paper(data: Collected) -> Iterator[Block]:
    """Every table of the paper, where it was asked for; another publication's if something here answers to it."""
    if data.paper:
        ours = group_trials(data.results, data.runs)
        source = next(one.source for one in published_tables("accuracy") if one.paper)
        yield note(sentence("paper", "introduction", source=source, apart=APART))
        for published in published_tables("accuracy") + published_tables("detection"):
            if published.paper or standing_below(published, ours):
                yield from _published_table(published, ours)


def apart(data: Collected) -> Iterator[Block]:
    """Beside the paper's tables, our numbers that stand in none of them: numbers of two protocols share no column."""
    left = [one for one in group_trials(data.results, data.runs) if why_in_no_table(one)]
    if data.paper and left:
        yield note(sentence("paper", "how"))
        yield from by_protocol(left)


def detection(data: Collected) -> Iterator[Block]:
    """Tables of detection that a result belongs to by protocol and data; under another schedule it is only counted."""
    ours = group_trials(data.results, data.runs)
    for published in published_tables("detection"):
        if any(related(one, published) for one in ours):
            yield from _published_table(published, ours)


def _published_table(published: PublishedTable, ours: Sequence[Trials]) -> Iterator[Block]:
    """Heading, table and notes; ours stand below the row that they answer to, or at the end."""
    below, detectors = standing_below(published, ours), published.match == "detection"
    first = "Pretraining" if detectors else "Row"

    def here(one: Trials, name: str) -> dict[str, str]:
        known = {first: f"here: {name}", "Epochs": epochs_text(one.epochs)}
        return known | {metric: one.cell(metric) for metric in published.metrics} | one.tags()

    rows: list[dict[str, str]] = []
    for row in published.rows:
        values = {metric: f"{value:.1f}" for metric, value in zip(published.metrics, row.values, strict=True)}
        rows.append({first: row.name} | ({} if detectors else {"Epochs": epochs_text(row.epochs)}) | values)
        # of a row without epochs our recipe says more than its name
        rows += [here(one, row.name if row.epochs else one.recipe) for one in below.get(row.name, ())]
    rows += [here(one, one.recipe) for one in below.get("", ())]
    yield heading(published.title, published.anchor)
    numeric = published.metrics if detectors else ["Epochs", *published.metrics]
    yield table(sentence("paper", "caption", table=published, below=below), rows, numeric)
    if published.note:
        yield note(published.note)
    if left := [one for one in ours if detectors and related(one, published) and one not in below.get("", ())]:
        number, kinds = sum(len(one.results) for one in left), dict.fromkeys(map(conditions, left))
        yield note(sentence("paper", "left_out", number=number, kinds=kinds, setting=published.setting))


def by_protocol(ours: Sequence[Trials]) -> Iterator[Block]:
    """A table for each task, data set and protocol, with a row for each network, and whether the paper has the like.

    Of more than MOST metrics each has a row, a network is a column, and what else is known of it follows in words.
    """
    groups: dict[str, list[Trials]] = {}
    for one in ours:
        groups.setdefault(f"{one.first.task} on {one.first.dataset}: {one.first.protocol}", []).append(one)
    for caption, together in groups.items():
        metrics = list(dict.fromkeys(metric for one in together for metric in one.metrics()))
        networks: dict[str, dict[str, str]] = {}
        for one in together:
            name = next(name for name in numbered(one.network) if name not in networks)
            numbers = {metric: one.cell(metric, 2) for metric in metrics}
            tags = {tag: text for tag, text in one.tags().items() if tag in ("Date", "Hardware", "Commit")}
            why = {WHY: why_in_no_table(one) or "it stands there too"}
            networks[name] = {NETWORK: name, "Epochs": epochs_text(one.epochs)} | numbers | tags | why
        if len(metrics) <= MOST:
            yield table(caption, list(networks.values()), ["Epochs", *metrics])
            continue
        rows = [{"Metric": metric} | {name: row[metric] for name, row in networks.items()} for metric in metrics]
        yield table(caption, rows, networks)
        told = [sentence("paper", "tags", name=name, row=row, why=row[WHY]) for name, row in networks.items()]
        yield block("Bullets", items=told)


SECTIONS = (
    Section("paper", "The paper's tables", 70, paper),
    Section("apart", APART, 71, apart),
    Section("published", BESIDE, 72, lambda data: () if data.paper else detection(data)),
)
