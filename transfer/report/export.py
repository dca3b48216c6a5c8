"""All numbers of a report as records, one a row and metric, for CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pretrain.runtime.files import write_json, write_text
from transfer.report.collect.find import Found
from transfer.report.collect.trials import Measured, measured
from transfer.report.published import match_detection
from transfer.report.published.tables import published_tables
from transfer.report.sections import paper_tables


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


def records(found: Found, with_published: bool) -> list[Record]:
    """Of every measured number one record a table that it stands in, else one with the reason why it stands in none.

    Args: with_published, the published rows of all tables too.
    """
    ours = measured(found.results, found.runs)
    made = [*_published()] if with_published else []
    for table in published_tables("accuracy"):
        for row, below in paper_tables.answering(table, ours).items():
            made += [one for group in below for one in _measured(group, table.title, row)]
    for detection in published_tables("detection"):
        for group in match_detection.answering(detection, ours):
            made += _measured(group, detection.title, group.recipe)
    return made + [
        one for group in ours if (why := paper_tables.reason(group)) for one in _measured(group, "", "", why)
    ]


def write_records(found: Found, out: Path, with_published: bool) -> None:
    """Write OUT/report.csv and OUT/report.json.

    Raises:
        OSError: OUT cannot be written.
    """
    made = [asdict(record) for record in records(found, with_published)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Record.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    write_text(out / "report.csv", text.getvalue())
    write_json(out / "report.json", made)


def _published() -> Iterator[Record]:
    for table in (*published_tables("accuracy"), *published_tables("detection")):
        known = {"task": table.task, "source": table.source}
        if table.match == "detection":
            setting = table.setting
            known |= {"dataset": setting.dataset, "protocol": setting.protocol, "arch": setting.arch}
        for row in table.rows:
            for metric, value in zip(table.metrics, row.values, strict=True):
                yield Record(table.title, row.name, "published", metric, value, epochs=row.epochs, **known)


def _measured(group: Measured, table: str, row: str, why: str = "") -> Iterator[Record]:
    protocol, dataset, date, hardware, commit = group.tags()
    for metric in group.metrics():
        summary = group.summary(metric)
        if summary is None:
            continue
        yield Record(
            table,
            row or group.recipe,
            "measured",
            metric,
            summary.mean,
            summary.std,
            len(summary.values),
            group.epochs,
            group.first.task,
            dataset,
            protocol,
            group.first.arch,
            date,
            hardware,
            commit,
            why,
        )
