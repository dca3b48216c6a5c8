"""The paper's tables with our rows below the published ones, and a table of its own for what may not stand there."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.find import Found
from transfer.report.collect.trials import ABSENT, TAGS, Measured, epochs_text, measured
from transfer.report.published import match_detection
from transfer.report.published.match_accuracy import place, why_not
from transfer.report.published.tables import PublishedRow, PublishedTable, published_tables
from transfer.report.render.document import Block, Bullets, Heading, Table, Text
from transfer.report.sections.provenance import arch_name

PAPER, APART = "The paper's tables", "Measured here, not comparable"
INTRODUCTION = (
    "Published numbers are {}'s, in percent. A number measured here stands below a row only if its data set, "
    "network, protocol and pretraining recipe are that row's (Table 8 does not tell its pretraining, Table 11 not how "
    f"long: there ours are named by their recipe); the others are under “{APART}”. Tables 1, 6 and 7 are left out: "
    "none of their numbers is in the source that these were copied from."
)
STANDS = "it stands there too"
MOST = 8  # metrics of a protocol that stand side by side
HOW = "Percent, mean ± sample standard deviation over n trials. Every protocol and data set has a table of its own."
FEW = (
    "That the protocol is TWIST's is inferred: its row is TWIST's own. The epochs of pretraining are not in our source."
)


def beside(found: Found) -> list[Block]:
    """Every table of the paper, then our numbers that belong to none of them, each with the reason."""
    ours = measured(found.results, found.runs)
    source = next(table.source for table in published_tables("accuracy") if table.paper)
    blocks: list[Block] = [Heading(PAPER, "paper"), Text(INTRODUCTION.format(source), "note")]
    for table in published_tables():
        blocks += _with_ours(table, ours) if table.match == "accuracy" else match_detection.with_ours(table, ours)
    return blocks + _apart(ours)


def answering(table: PublishedTable, ours: Sequence[Measured]) -> dict[str, list[Measured]]:
    """What was measured here by name of the row that it stands below."""
    below: dict[str, list[Measured]] = {}
    for one in ours:
        row = place(one, table)
        if isinstance(row, PublishedRow):
            below.setdefault(row.name, []).append(one)
    return below


def reason(one: Measured) -> str:
    """Why a number stands in none of the paper's tables; empty where it stands in one."""
    if one.first.task in match_detection.TASKS:
        return match_detection.why_not(one)
    return (
        ""
        if any(isinstance(place(one, table), PublishedRow) for table in published_tables("accuracy"))
        else why_not(one)
    )


def _with_ours(table: PublishedTable, ours: Sequence[Measured]) -> list[Block]:
    below = answering(table, ours)
    tags = TAGS if below else ()
    cells: list[tuple[str, ...]] = []
    for row in table.rows:
        published = tuple(f"{value:.1f}" for value in row.values)
        cells.append((row.name, epochs_text(row.epochs), *published, *(ABSENT for _ in tags)))
        for one in below.get(row.name, ()):
            values = tuple(one.cell(column) for column in table.metrics)
            name = row.name if row.epochs else one.recipe  # of which the row does not tell
            cells.append((f"here: {name}", epochs_text(one.epochs), *values, *one.tags()))
    columns = ("Row", "Epochs", *table.metrics, *tags)
    numeric = frozenset(range(1, 2 + len(table.metrics)))
    blocks: list[Block] = [
        Heading(table.title, table.anchor, 3),
        Table(_caption(bool(below)), columns, tuple(cells), numeric),
    ]
    return [*blocks, Text(FEW, "note")] if table.task == "semi" else blocks


def _caption(any_of_ours: bool) -> str:
    return "Published, and measured here" if any_of_ours else "Published; nothing measured here answers to a row of it"


def _apart(ours: Sequence[Measured]) -> list[Block]:
    """A table for each protocol on each data set: numbers of two protocols never share a column."""
    left = [one for one in ours if reason(one)]
    return [Heading(APART, "apart"), Text(HOW, "note"), *by_protocol(left)] if left else []


def by_protocol(ours: Sequence[Measured]) -> list[Block]:
    """A table for each task, data set and protocol, with a row for each network, and whether the paper has the like."""
    groups: dict[str, list[Measured]] = {}
    for one in ours:
        first = one.first
        groups.setdefault(f"{first.task} on {first.dataset}: {first.protocol}", []).append(one)
    blocks: list[Block] = []
    for caption, together in groups.items():
        metrics = list(dict.fromkeys(metric for one in together for metric in one.metrics()))
        blocks += [_wide(caption, together, metrics)] if len(metrics) <= MOST else _tall(caption, together, metrics)
    return blocks


def _tall(caption: str, ours: Sequence[Measured], metrics: Sequence[str]) -> list[Block]:
    """Of many metrics each has a row, and the networks' tags follow in words."""
    rows = tuple((metric, *(one.cell(metric, 2) for one in ours)) for metric in metrics)
    names = [_network(one) for one in ours]
    tags = tuple(
        f"{name}: {epochs_text(one.epochs)} epochs; {'; '.join(one.tags()[2:])}; {reason(one) or STANDS}"
        for name, one in zip(names, ours, strict=True)
    )
    return [Table(caption, ("Metric", *names), rows, frozenset(range(1, 1 + len(ours)))), Bullets(tags)]


def _network(one: Measured) -> str:
    return f"{arch_name(one.first.arch)}, {one.recipe}"


def _wide(caption: str, ours: Sequence[Measured], metrics: Sequence[str]) -> Table:
    rows = tuple(
        (
            _network(one),
            epochs_text(one.epochs),
            *(one.cell(metric, 2) for metric in metrics),
            *one.tags()[2:],
            reason(one) or STANDS,
        )
        for one in ours
    )
    columns = ("Network and pretraining", "Epochs", *metrics, *TAGS[2:], "Why it stands in no table of the paper")
    return Table(caption, columns, rows, frozenset(range(1, 2 + len(metrics))))
