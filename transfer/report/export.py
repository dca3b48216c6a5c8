"""All numbers of a report as records, one a row and metric, for CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pretrain.runtime.files import write_json, write_text
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Trials, group_trials
from transfer.report.published.match import standing_below, why_in_no_table
from transfer.report.published.tables import published_tables


@dataclass(frozen=True)
class Record:
    """A number. table: the published table that it stands in, empty for none. origin: published or measured.

    trials: number of results behind mean and std (n - 1), None where a publication does not say. not_comparable: why a
    measured number stands in no published table. source: of a published number.
    """

    table: str
    row: str
    origin: str
    metric: str
    mean: float
    std: float | None = None
    trials: int | None = None
    epochs: float | None = None
    task: str = ""
    dataset: str = ""
    protocol: str = ""
    arch: str = ""
    date: str = ""
    hardware: str = ""
    commit: str = ""
    not_comparable: str = ""
    source: str = ""


def records(data: Collected) -> list[Record]:
    """Of every measured number one record a table that it stands in, else one with the reason why it stands in none.

    Where the paper is asked for, the published rows of all tables come first.
    """
    ours = group_trials(data.results, data.runs)
    made = [*_published()] if data.paper else []
    for table in (*published_tables("accuracy"), *published_tables("detection")):
        for row, below in standing_below(table, ours).items():
            made += [one for group in below for one in _measured(group, table.title, row)]
    return made + [one for group in ours if (why := why_in_no_table(group)) for one in _measured(group, "", "", why)]


def write_records(data: Collected, out: Path) -> None:
    """Write OUT/report.csv and OUT/report.json.

    Raises:
        OSError: OUT cannot be written.
    """
    made = [asdict(record) for record in records(data)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Record.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    write_text(out / "report.csv", text.getvalue())
    write_json(out / "report.json", made)


def _published() -> Iterator[Record]:
    for table in (*published_tables("accuracy"), *published_tables("detection")):
        known: dict[str, Any] = {"task": table.task, "source": table.source}
        if table.match == "detection":
            setting = table.setting
            known |= {"dataset": setting.dataset, "protocol": setting.protocol, "arch": setting.arch}
        for row in table.rows:
            for metric, value in zip(table.metrics, row.values, strict=True):
                yield Record(table.title, row.name, "published", metric, value, epochs=row.epochs, **known)


def _measured(group: Trials, table: str, row: str, why: str = "") -> Iterator[Record]:
    where = dict(zip(("protocol", "dataset", "date", "hardware", "commit"), group.tags(), strict=True))
    known: dict[str, Any] = where | {"task": group.first.task, "arch": group.first.arch, "not_comparable": why}
    for metric in group.metrics():
        if summary := group.summary(metric):
            numbers = (summary.mean, summary.std, len(summary.values), group.epochs)
            yield Record(table, row or group.recipe, "measured", metric, *numbers, **known)
