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
OPENING = {"accuracy": ("Row", "Epochs"), "detection": ("Pretraining",)}  # columns before the metrics


def paper(data: Collected) -> list[Block] | None:
    """Every table of the paper, where it was asked for; another publication's if something here answers to it."""
    if not data.paper:
        return None
    ours = group_trials(data.results, data.runs)
    source = next(table.source for table in published_tables("accuracy") if table.paper)
    shown = [table for table in published_tables() if table.paper or standing_below(table, ours)]
    blocks = [block for table in shown for block in _published_table(table, ours)]
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
    return [block for table in shown for block in _published_table(table, ours)] or None


def _published_table(table: PublishedTable, ours: Sequence[Trials]) -> list[Block]:
    """Heading, table and notes; ours stand below the row that they answer to, or at the end."""
    below, opening = standing_below(table, ours), OPENING[table.match]
    rows: list[dict[str, str]] = []
    for row in table.rows:
        values = {metric: f"{value:.1f}" for metric, value in zip(table.metrics, row.values, strict=True)}
        rows.append({opening[0]: row.name, "Epochs": epochs_text(row.epochs)} | values)
        # of a row without epochs our recipe says more than its name
        rows += [_our_row(one, table, row.name if row.epochs else one.recipe) for one in below.get(row.name, ())]
    rows += [_our_row(one, table, one.recipe) for one in below.get("", ())]
    tags = tuple(tag for tag in ("Epochs", *TAGS) if below and tag not in opening)
    columns = (*opening, *table.metrics, *tags)
    cells = tuple(tuple(row.get(column, ABSENT) for column in columns) for row in rows)
    caption = "Published, and measured here" if below else "Published; nothing measured here answers to a row of it"
    if table.match == "detection":
        caption = f"{table.setting.protocol}. Published: {table.source}"
    left = [one for one in ours if match_detection.related(one, table) and one not in below.get("", ())]
    notes = [*([table.note] if table.note else []), *([_left_out(table, left)] if left else [])]
    shown = Table(caption, columns, cells, frozenset(range(1, len(opening) + len(table.metrics))))
    return [Heading(table.title, table.anchor, 3), shown, *(Text(note, "note") for note in notes)]


def _our_row(one: Trials, table: PublishedTable, name: str) -> dict[str, str]:
    known = {OPENING[table.match][0]: f"here: {name}", "Epochs": epochs_text(one.epochs)}
    return known | {metric: one.cell(metric) for metric in table.metrics} | dict(zip(TAGS, one.tags(), strict=True))


def _left_out(table: PublishedTable, left: Sequence[Trials]) -> str:
    kinds = "; ".join(dict.fromkeys(map(match_detection.conditions, left)))
    number, setting = sum(len(one.results) for one in left), table.setting
    return (
        f"Not shown: {number} result(s) with another trunk, schedule, setting or part of the data ({kinds}); the "
        f"published rows are of a {setting.arch}, {setting.images_seen:,} images seen of {setting.counts['train']:,}."
    )


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
