"""Published numbers, read from the data files of this folder, where alone they stand: one file a publication's setting.

A file that is added here is another table of the report. Its keys are the fields of `PublishedTable` and `Setting`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    values: in the order of the table's metrics. epochs: of pretraining, None where the publication does not tell.
    settings: options of the pretraining run that differ from the base recipe; None where no run of ours is this row.
    config: the configuration that is this row, below configs/pretrain and without ".yaml"; "" where there is none.
    """

    name: str
    values: list[float]
    epochs: int | None = None
    settings: dict[str, Any] | None = None
    config: str = ""


@dataclass(frozen=True)
class Setting:
    """What a result must have been measured under to stand in a table.

    counts: images by split, and classes. labels: percent of ImageNet's labels, by SimCLR's list; 0 for another task.
    pretraining_images: in the set that was pretrained on. options: of the evaluation, each with the values that fit.
    dataset, protocol: of a detector's result, whose name ends with protocol_ends. images_seen: iterations times images
    of a step. lr: of 16 images.
    """

    arch: str
    counts: dict[str, int]
    labels: int = 0
    pretraining_images: int = 0
    options: dict[str, list[Any]] = field(default_factory=dict)
    dataset: str = ""
    protocol: str = ""
    protocol_ends: str = ""
    images_seen: int = 0
    lr: float = 0.0


@dataclass(frozen=True)
class PublishedTable:
    """A table of one publication under one setting.

    name: what sentences call it. anchor, order: where it stands. paper: of the UniGrad paper. match: how results are
    set beside it, "accuracy" or "detection". task: of our results, "" where the protocol tells it. units: by metric.
    strict: its rows' recipes are known in full, so that every other option of a run must be the base recipe's; else
    the method, and where the row names its epochs its mixing and its crops, are all that is known. note: what stands
    below the table.
    """

    name: str
    title: str
    anchor: str
    order: int
    metrics: list[str]
    rows: tuple[PublishedRow, ...] = field(repr=False)
    source: str
    paper: bool
    match: str
    units: dict[str, str]
    setting: Setting
    task: str = ""
    strict: bool = True
    note: str = ""


@cache
def published_tables(match: str = "") -> tuple[PublishedTable, ...]:
    """Every published table in the paper's order, or those of one kind of matching."""
    tables = [table for path in FOLDER.glob("*.yaml") for table in _tables(path)]
    tables.sort(key=lambda table: (table.order, table.anchor))
    return tuple(table for table in tables if match in ("", table.match))


def expected_top1(config: Path) -> float | None:
    """The published top-1, in percent, of a configuration below configs/pretrain; None where there is none."""
    names = {"/".join(config.with_suffix("").parts[-2:]), config.stem}
    each = ((table, row) for table in published_tables("accuracy") for row in table.rows if row.config in names)
    return next((row.values[table.metrics.index("top1")] for table, row in each), None)


def _tables(path: Path) -> Iterator[PublishedTable]:
    shared = yaml.safe_load(path.read_text(encoding="utf-8"))
    shared["setting"] = Setting(**shared["setting"])
    for table in shared.pop("tables"):
        table["rows"] = tuple(PublishedRow(**row) for row in table["rows"])
        yield PublishedTable(**shared | table)
