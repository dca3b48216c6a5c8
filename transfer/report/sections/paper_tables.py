"""Published tables with our rows below theirs, and tables of their own for what may not stand there."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.names import arch_name
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import ABSENT, TAGS, Trials, epochs_text, group_trials
from transfer.report.published import match_detection
from transfer.report.published.match import standing_below, why_in_no_table
from transfer.report.published.tables import PublishedTable, published_tables
from transfer.report.render.document import Block, Bullets, Heading, Table, Text
from transfer.report.sections import Section

PAPER, APART = "The paper's tables", "Measured here, not comparable"
INTRODUCTION = (
    "Published numbers are {}'s, in percent. A number measured here stands below a row only if its data set, "
    "network, protocol and pretraining recipe are that row's (Table 8 does not tell its pretraining, Table 11 not how "
    f"long: there ours are named by their recipe); the others are under “{APART}”. Tables 1, 6 and 7 are left out: "
    "none of their numbers is in the source that these were copied from."
)
BESIDE = "Beside published numbers"
STANDS = "it stands there too"
MOST = 8  # metrics of a protocol that stand side by side
HOW = "Percent, mean ± sample standard deviation over n trials. Every protocol and data set has a table of its own."
FEW = (
    "That the protocol is TWIST's is inferred: its row is TWIST's own. The epochs of pretraining are not in our source."
)


def paper(data: Collected) -> list[Block] | None:
    """Every table of the paper, where it was asked for; another publication's if something here answers to it."""
    if not data.paper:
        return None
    ours = group_trials(data.results, data.runs)
    source = next(table.source for table in published_tables("accuracy") if table.paper)
    shown = [table for table in published_tables() if table.paper or standing_below(table, ours)]
    blocks = [block for table in shown for block in WRITERS[table.match](table, ours)]
    return [Text(INTRODUCTION.format(source), "note"), *blocks]


def apart(data: Collected) -> list[Block] | None:
    """Beside the paper's tables, our numbers that stand in none of them: numbers of two protocols share no column."""
    left = [one for one in group_trials(data.results, data.runs) if why_in_no_table(one)]
    return [Text(HOW, "note"), *by_protocol(left)] if data.paper and left else None


def detection(data: Collected) -> list[Block] | None:
    """Without the paper's tables: those of detection that a result belongs to by its protocol and its data.

    A result of the same protocol with another trunk, schedule or setting or a part of the data is counted, not shown.
    """
    ours = group_trials(data.results, data.runs)
    tables = published_tables("detection")
    shown = [table for table in tables if any(match_detection.related(one, table) for one in ours)]
    return [block for table in shown for block in _detection_table(table, ours)] or None


def _accuracy_table(table: PublishedTable, ours: Sequence[Trials]) -> list[Block]:
    below = standing_below(table, ours)
    tags = TAGS if below else ()
    cells: list[tuple[str, ...]] = []
    for row in table.rows:
        published = tuple(f"{value:.1f}" for value in row.values)
        cells.append((row.name, epochs_text(row.epochs), *published, *(ABSENT for _ in tags)))
        for one in below.get(row.name, ()):
            name = row.name if row.epochs else one.recipe  # of which the row does not tell
            values = map(one.cell, table.metrics)
            cells.append((f"here: {name}", epochs_text(one.epochs), *values, *one.tags()))
    none = "Published; nothing measured here answers to a row of it"
    caption = "Published, and measured here" if below else none
    columns = ("Row", "Epochs", *table.metrics, *tags)
    shown = Table(caption, columns, tuple(cells), frozenset(range(1, 2 + len(table.metrics))))
    few = [Text(FEW, "note")] if table.setting.labels else []
    return [Heading(table.title, table.anchor, 3), shown, *few]


def _detection_table(table: PublishedTable, ours: Sequence[Trials]) -> list[Block]:
    standing = standing_below(table, ours).get("", [])
    tags = ("Epochs", *TAGS) if standing else ()
    rows = [(row.name, *(f"{value:.1f}" for value in row.values), *(ABSENT for _ in tags)) for row in table.rows]
    for one in standing:
        cells = map(one.cell, table.metrics)
        rows.append((f"here: {one.recipe}", *cells, epochs_text(one.epochs), *one.tags()))
    caption = f"{table.setting.protocol}. Published: {table.source}"
    columns = ("Pretraining", *table.metrics, *tags)
    shown = Table(caption, columns, tuple(rows), frozenset(range(1, 1 + len(table.metrics))))
    left = [one for one in ours if match_detection.related(one, table) and one not in standing]
    more = [Text(_left_out(table, left), "note")] if left else []
    return [Heading(table.title, table.anchor, 3), shown, *more]


def _left_out(table: PublishedTable, left: Sequence[Trials]) -> str:
    kinds = "; ".join(dict.fromkeys(map(match_detection.conditions, left)))
    number, setting = sum(len(one.results) for one in left), table.setting
    return (
        f"Not shown: {number} result(s) with another trunk, schedule, setting or part of the data ({kinds}); the "
        f"published rows are of a {setting.arch}, {setting.images_seen:,} images seen of {setting.counts['train']:,}."
    )


WRITERS = {"accuracy": _accuracy_table, "detection": _detection_table}


def by_protocol(ours: Sequence[Trials]) -> list[Block]:
    """A table for each task, data set and protocol, with a row for each network, and whether the paper has the like."""
    groups: dict[str, list[Trials]] = {}
    for one in ours:
        first = one.first
        groups.setdefault(f"{first.task} on {first.dataset}: {first.protocol}", []).append(one)
    blocks: list[Block] = []
    for caption, together in groups.items():
        metrics = list(dict.fromkeys(metric for one in together for metric in one.metrics()))
        blocks += [_wide(caption, together, metrics)] if len(metrics) <= MOST else _tall(caption, together, metrics)
    return blocks


def _tall(caption: str, ours: Sequence[Trials], metrics: Sequence[str]) -> list[Block]:
    """Of many metrics each has a row, and the networks' tags follow in words."""
    rows = tuple((metric, *(one.cell(metric, 2) for one in ours)) for metric in metrics)
    names = [_network(one) for one in ours]
    tags = tuple(
        f"{name}: {epochs_text(one.epochs)} epochs; {'; '.join(one.tags()[2:])}; {why_in_no_table(one) or STANDS}"
        for name, one in zip(names, ours, strict=True)
    )
    return [Table(caption, ("Metric", *names), rows, frozenset(range(1, 1 + len(ours)))), Bullets(tags)]


def _network(one: Trials) -> str:
    return f"{arch_name(one.first.arch)}, {one.recipe}"


def _wide(caption: str, ours: Sequence[Trials], metrics: Sequence[str]) -> Table:
    rows = tuple(
        (
            _network(one),
            epochs_text(one.epochs),
            *(one.cell(metric, 2) for metric in metrics),
            *one.tags()[2:],
            why_in_no_table(one) or STANDS,
        )
        for one in ours
    )
    columns = ("Network and pretraining", "Epochs", *metrics, *TAGS[2:], "Why it stands in no table of the paper")
    return Table(caption, columns, rows, frozenset(range(1, 2 + len(metrics))))


def _beside_published(data: Collected) -> list[Block] | None:
    return None if data.paper else detection(data)


SECTIONS = (
    Section("paper", PAPER, 70, paper),
    Section("apart", APART, 71, apart),
    Section("published", BESIDE, 72, _beside_published),
)
