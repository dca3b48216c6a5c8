"""Our detection numbers beside published ones: only where protocol, data, architecture and schedule are the same."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.collect.find import Found
from transfer.report.collect.trials import ABSENT, TAGS, Measured, epochs_text, measured
from transfer.report.published.detection_tables import TABLES, Published
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
    shown = [block for published in TABLES if _related(published, ours) for block in _blocks(published, ours)]
    return [Heading(TITLE, "published"), *shown] if shown else []


def of_the_paper(ours: Sequence[Measured]) -> list[Block]:
    """The paper's Table 8, of both data sets; other publications' tables where something here answers to them."""
    return [
        block
        for published in TABLES
        if published.title.startswith("Table 8") or answering(published, ours)
        for block in _blocks(published, ours)
    ]


def answering(published: Published, ours: Sequence[Measured]) -> list[Measured]:
    """What was measured here by the table's protocol, data, trunk and schedule."""
    return [one for one in _related(published, ours) if _same(published, one.first)]


def why_not(one: Measured) -> str:
    """Why a detector's numbers stand in no published table; empty where they stand in one."""
    related = [published for published in TABLES if _related(published, [one])]
    if not related:
        return "no published table has this protocol and these data"
    if any(_same(published, one.first) for published in related):
        return ""
    return "another trunk, schedule, setting or part of the data: " + _told(one)


def _related(published: Published, ours: Sequence[Measured]) -> list[Measured]:
    wanted = (published.protocol, published.dataset)
    return [one for one in ours if (one.first.settings.get("protocol"), one.first.dataset) == wanted]


def images_seen(result: Result) -> int:
    """Iterations times images of a step, 0 where the result does not tell."""
    return int(result.settings.get("iterations") or 0) * int(result.settings.get("images_per_step") or 0)


def _same(published: Published, result: Result) -> bool:
    held = (images_seen(result), *(result.counts.get(split, 0) for split in ("train", "val")))
    wanted = (published.images, *published.sizes)
    alike = all(abs(here / there - 1) <= SAME for here, there in zip(held, wanted, strict=True))
    per_image = float(result.settings.get("base_lr") or 0) / int(result.settings.get("images_per_step") or 1)
    alike = alike and abs(per_image * 16 / published.lr - 1) <= SAME  # the lr follows the batch
    return alike and result.arch == published.arch and result.protocol.endswith(f", {published.settings}")


def _blocks(published: Published, ours: Sequence[Measured]) -> list[Block]:
    shown = answering(published, ours)
    left = [one for one in _related(published, ours) if one not in shown]
    blocks: list[Block] = [
        Heading(published.title, f"published-{TABLES.index(published)}", 3),
        _table(published, shown),
    ]
    return [*blocks, Text(_left_out(published, left), "note")] if left else blocks


def _table(published: Published, ours: Sequence[Measured]) -> Table:
    tags = ("Epochs", *TAGS) if ours else ()
    rows = [
        (name, *(f"{value:.1f}" for value in values), *(ABSENT for _ in tags))
        for name, values in published.rows.items()
    ]
    for one in ours:
        cells = tuple(one.cell(metric) for metric in published.metrics)
        rows.append((f"here: {one.recipe}", *cells, epochs_text(one.epochs), *one.tags()))
    caption = f"{published.protocol}. Published: {published.source}"
    columns = ("Pretraining", *published.metrics, *tags)
    return Table(caption, columns, tuple(rows), frozenset(range(1, 1 + len(published.metrics))))


def _left_out(published: Published, left: Sequence[Measured]) -> str:
    kinds = "; ".join(dict.fromkeys(map(_told, left)))
    number = sum(len(one.results) for one in left)
    return (
        f"Not shown: {number} result(s) with another trunk, schedule, setting or part of the data ({kinds}); the "
        f"published rows are of a {published.arch}, {published.images:,} images seen of {published.sizes[0]:,}."
    )


def _told(one: Measured) -> str:
    first = one.first
    settings = first.protocol.removeprefix(f"{first.settings.get('protocol')}: ")
    return f"{first.arch}, {images_seen(first):,} images seen of {first.counts.get('train', 0):,}; {settings}"
