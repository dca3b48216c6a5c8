"""All numbers of a report as records, one a row and metric, for CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pretrain.runtime.files import write_json, write_text
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Trials, group_trials
from transfer.report.published.match import standing_below, why_in_no_table
from transfer.report.published.tables import PublishedTable, published_tables


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


def records(data: Collected) -> Iterator[Record]:
    """Of every measured number one record a table that it stands in, else one with the reason why it stands in none.

    Where the paper is asked for, the published rows of all tables come first.
    """
    ours, tables = (
        group_trials(data.results, data.runs),
        [*published_tables("accuracy"), *published_tables("detection")],
    )
    for table in tables if data.paper else ():
        yield from _published(table)
    for table in tables:
        for row, below in standing_below(table, ours).items():
            for trials in below:
                yield from _measured(trials, table.title, row)
    for trials in ours:
        if why := why_in_no_table(trials):
            yield from _measured(trials, not_comparable=why)


def write_records(data: Collected, out: Path) -> None:
    """Write OUT/report.csv and OUT/report.json.

    Raises:
        OSError: OUT cannot be written.
    """
    made, text = [asdict(record) for record in records(data)], io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Record)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    write_text(out / "report.csv", text.getvalue())
    write_json(out / "report.json", made)


def _published(table: PublishedTable) -> Iterator[Record]:
    setting, known = table.setting, {"task": table.task, "source": table.source}
    if table.match == "detection":
        known |= {"dataset": setting.dataset, "protocol": setting.protocol, "arch": setting.arch}
    for row in table.rows:
        for metric, value in zip(table.metrics, row.values, strict=True):
            yield Record(table.title, row.name, "published", metric, value, None, None, row.epochs, **known)


def _measured(trials: Trials, table: str = "", row: str = "", not_comparable: str = "") -> Iterator[Record]:
    known: dict[str, Any] = {"task": trials.first.task, "arch": trials.first.arch, "not_comparable": not_comparable}
    known |= {{"Data": "dataset"}.get(tag, tag.lower()): text for tag, text in trials.tags().items()}
    for metric in trials.metrics():
        if one := trials.summary(metric):
            numbers = (one.mean, one.std, len(one.values), trials.epochs)
            yield Record(table, row or trials.recipe, "measured", metric, *numbers, **known)
