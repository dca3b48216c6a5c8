"""Our detection numbers beside published ones: only where protocol, data, architecture and schedule are the same."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.find import Found
from transfer.report.collect.trials import ABSENT, TAGS, Measured, epochs_text, measured
from transfer.report.published.tables import PublishedTable, published_tables
from transfer.report.render.document import Block, Heading, Table, Text
from transfer.results import Result

TITLE = "Beside published numbers"
TASKS = ("detection", "segmentation")
SAME = 0.01  # share by which numbers of images may differ: schedules are rounded, damaged images left out


def tables(found: Found) -> list[Block]:
    """Every published table that some result here belongs to by protocol and data, with our rows below its own.

    A result of the same protocol with another trunk, schedule or setting or a part of the data is counted, not shown.
    """
    ours = measured(found.results, found.runs)
    shown = [
        block
        for published in published_tables("detection")
        if _related(published, ours)
        for block in _blocks(published, ours)
    ]
    return [Heading(TITLE, "published"), *shown] if shown else []


def with_ours(published: PublishedTable, ours: Sequence[Measured]) -> list[Block]:
    """The paper's own table with our rows; another publication's only where something here answers to it."""
    return _blocks(published, ours) if published.paper or answering(published, ours) else []


def answering(published: PublishedTable, ours: Sequence[Measured]) -> list[Measured]:
    """What was measured here by the table's protocol, data, trunk and schedule."""
    return [one for one in _related(published, ours) if _same(published, one.first)]


def why_not(one: Measured) -> str:
    """Why a detector's numbers stand in no published table; empty where they stand in one."""
    related = [published for published in published_tables("detection") if _related(published, [one])]
    if not related:
        return "no published table has this protocol and these data"
    if any(_same(published, one.first) for published in related):
        return ""
    return "another trunk, schedule, setting or part of the data: " + _told(one)


def _related(published: PublishedTable, ours: Sequence[Measured]) -> list[Measured]:
    wanted = (published.setting.protocol, published.setting.dataset)
    return [one for one in ours if (one.first.settings.get("protocol"), one.first.dataset) == wanted]


def images_seen(result: Result) -> int:
    """Iterations times images of a step, 0 where the result does not tell."""
    return int(result.settings.get("iterations") or 0) * int(result.settings.get("images_per_step") or 0)


def _same(published: PublishedTable, result: Result) -> bool:
    setting = published.setting
    held = (images_seen(result), *(result.counts.get(split, 0) for split in setting.counts))
    wanted = (setting.images_seen, *setting.counts.values())
    alike = all(abs(here / there - 1) <= SAME for here, there in zip(held, wanted, strict=True))
    per_image = float(result.settings.get("base_lr") or 0) / int(result.settings.get("images_per_step") or 1)
    alike = alike and abs(per_image * 16 / setting.lr - 1) <= SAME  # the lr follows the batch
    return alike and result.arch == setting.arch and result.protocol.endswith(f", {setting.protocol_ends}")


def _blocks(published: PublishedTable, ours: Sequence[Measured]) -> list[Block]:
    shown = answering(published, ours)
    left = [one for one in _related(published, ours) if one not in shown]
    blocks: list[Block] = [
        Heading(published.title, published.anchor, 3),
        _table(published, shown),
    ]
    return [*blocks, Text(_left_out(published, left), "note")] if left else blocks


def _table(published: PublishedTable, ours: Sequence[Measured]) -> Table:
    tags = ("Epochs", *TAGS) if ours else ()
    rows = [(row.name, *(f"{value:.1f}" for value in row.values), *(ABSENT for _ in tags)) for row in published.rows]
    for one in ours:
        cells = tuple(one.cell(metric) for metric in published.metrics)
        rows.append((f"here: {one.recipe}", *cells, epochs_text(one.epochs), *one.tags()))
    caption = f"{published.setting.protocol}. Published: {published.source}"
    columns = ("Pretraining", *published.metrics, *tags)
    return Table(caption, columns, tuple(rows), frozenset(range(1, 1 + len(published.metrics))))


def _left_out(published: PublishedTable, left: Sequence[Measured]) -> str:
    kinds = "; ".join(dict.fromkeys(map(_told, left)))
    number = sum(len(one.results) for one in left)
    setting = published.setting
    return (
        f"Not shown: {number} result(s) with another trunk, schedule, setting or part of the data ({kinds}); the "
        f"published rows are of a {setting.arch}, {setting.images_seen:,} images seen of {setting.counts['train']:,}."
    )


def _told(one: Measured) -> str:
    first = one.first
    settings = first.protocol.removeprefix(f"{first.settings.get('protocol')}: ")
    return f"{first.arch}, {images_seen(first):,} images seen of {first.counts.get('train', 0):,}; {settings}"
