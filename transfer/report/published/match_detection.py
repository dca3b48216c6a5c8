"""Which published table of detection a measured number stands in: that of its protocol, data, trunk and schedule."""

from __future__ import annotations

from transfer.report.collect.trials import Trials
from transfer.report.published.tables import PublishedTable, published_tables
from transfer.results import Result

TASKS = ("detection", "segmentation")
SAME = 0.01  # share by which numbers of images may differ: schedules are rounded, damaged images left out


def stands_below(one: Trials, table: PublishedTable) -> str | None:
    """ "" where it stands below the last row of `table`, None where it may not stand there."""
    return "" if related(one, table) and _same(table, one.first) else None


def related(one: Trials, table: PublishedTable) -> bool:
    """Whether it was measured by the table's protocol on its data, under whatever schedule and settings."""
    setting = table.setting
    return (one.first.settings.get("protocol"), one.first.dataset) == (setting.protocol, setting.dataset)


def why_not(one: Trials) -> str:
    """Why a detector's numbers stand in no published table; empty where they stand in one."""
    tables = [table for table in published_tables("detection") if related(one, table)]
    if not tables:
        return "no published table has this protocol and these data"
    if any(_same(table, one.first) for table in tables):
        return ""
    return "another trunk, schedule, setting or part of the data: " + conditions(one)


def conditions(one: Trials) -> str:
    """Trunk, schedule and settings in words."""
    first = one.first
    settings = first.protocol.removeprefix(f"{first.settings.get('protocol')}: ")
    return f"{first.arch}, {images_seen(first):,} images seen of {first.counts.get('train', 0):,}; {settings}"


def images_seen(result: Result) -> int:
    """Iterations times images of a step, 0 where the result does not tell."""
    return int(result.settings.get("iterations") or 0) * int(result.settings.get("images_per_step") or 0)


def _same(table: PublishedTable, result: Result) -> bool:
    setting = table.setting
    held = (images_seen(result), *(result.counts.get(split, 0) for split in setting.counts))
    wanted = (setting.images_seen, *setting.counts.values())
    alike = all(abs(here / there - 1) <= SAME for here, there in zip(held, wanted, strict=True))
    per_image = float(result.settings.get("base_lr") or 0) / int(result.settings.get("images_per_step") or 1)
    alike = alike and abs(per_image * 16 / setting.lr - 1) <= SAME  # the lr follows the batch
    return alike and result.arch == setting.arch and result.protocol.endswith(f", {setting.protocol_ends}")
