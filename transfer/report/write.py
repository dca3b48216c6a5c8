"""The one call of tools/report.py: folders in, report.html, .md, .csv and .json out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json, write_text
from transfer.report.collect.search import Collected, search_folders
from transfer.report.collect.trials import Summary, Trials, group_trials
from transfer.report.published.tables import (
    PublishedTable,
    published_tables,
    standing_below,
    stands_beside,
    why_in_no_table,
)
from transfer.report.render.document import Block, heading
from transfer.report.render.exports import write_tables
from transfer.report.render.pages import to_html, write_markdown
from transfer.report.sections import sections

# Of a record, which is one number. table: the published table that it stands in, empty for none. origin: published or
# measured. trials: number of results behind mean and std (n - 1). not_comparable: why a measured number stands in no
# published table. source: of a published number.
TEXTS = ("task", "dataset", "protocol", "arch", "date", "hardware", "commit", "not_comparable", "source")
NUMBERS = ("mean", "std", "trials", "epochs")
EMPTY = dict.fromkeys(("table", "row", "origin", "metric")) | dict.fromkeys(NUMBERS) | dict.fromkeys(TEXTS, "")


def write_report(folders: Sequence[str | Path], out: str | Path, paper: bool = False) -> tuple[Path, Path]:
    """Write OUT/report.html, OUT/report.md with OUT/figures/, OUT/report.csv and .json, of all below `folders`.

    Each of its tables is also OUT/tables/NN-SECTION.csv and .tex.

    Args: paper, with every table of the paper; then `folders` may be empty.

    Returns: the paths of the page and of the Markdown.

    Raises:
        UserError: a folder is missing, nothing of ours was found, or `out` cannot be a folder.
    """
    return write(collect_inputs(folders, out, paper), Path(out))


def collect_inputs(folders: Sequence[str | Path], out: str | Path, paper: bool) -> Collected:
    """All that a report is made of, once `write_report`'s arguments are seen to fit; its errors."""
    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is a file: give the folder that the report shall be written to.")
    if not folders and not paper:
        raise UserError("no folder is given: name folders of runs or results, or ask for the paper with --paper.")
    data = search_folders(folders) if folders else Collected()
    data.paper = paper
    return data


def write(data: Collected, out: Path) -> tuple[Path, Path]:
    """The files of `write_report`: the numbers first, then what is drawn of them, from summary to appendix."""
    made, text = [EMPTY | record for record in records(data)], io.StringIO()
    writer = csv.DictWriter(text, list(EMPTY), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    write_text(out / "report.csv", text.getvalue())
    write_json(out / "report.json", made)
    untested = "Pretraining runs" if len(data.runs) > 1 else "A pretraining run"
    title = "What the pretrained features are worth" if data.results else untested
    blocks: list[Block] = []
    for section in sections():
        built = list(section.build(data))
        blocks += [heading(section.title, section.anchor, 2), *built] if built and section.title else built
    write_tables(blocks, out)
    markdown = write_markdown(title, blocks, out)
    return write_text(out / "report.html", to_html(title, blocks)), markdown


def records(data: Collected) -> Iterator[dict[str, Any]]:
    """Of every measured number one record a table that it stands in, else one with the reason why it stands in none."""
    ours, tables = group_trials(data.results, data.runs), published_tables("accuracy") + published_tables("detection")
    for table in tables if data.paper else ():  # all published numbers come first
        yield from _published(table)
    for table in tables:
        for row, below in standing_below(table, ours).items():
            for trials in below:
                yield from _measured(trials, table=table.title, row=row or trials.recipe)
    for table in published_tables("transfer"):
        beside = [one for one in ours if stands_beside(one, table)]
        yield from _published(table) if beside else ()
        for trials in beside:
            yield from _measured(trials, table=table.title, row=trials.recipe)
    for trials in ours:
        if why := why_in_no_table(trials):
            yield from _measured(trials, table="", row=trials.recipe, not_comparable=why)


def _published(table: PublishedTable) -> Iterator[dict[str, Any]]:
    known = {"table": table.title, "origin": "published", "task": table.task, "source": table.source}
    if table.match == "transfer":
        known |= {"protocol": table.setting.protocol, "arch": table.setting.arch}
    if table.match == "detection":
        known |= {name: getattr(table.setting, name) for name in ("dataset", "protocol", "arch")}
    for row in table.rows:
        for metric, value in zip(table.metrics, row.values, strict=True):
            what = {"dataset": metric, "metric": ""} if table.match == "transfer" else {"metric": metric}
            yield known | what | {"row": row.name, "mean": value, "epochs": row.epochs}


def _measured(trials: Trials, **standing: str) -> Iterator[dict[str, Any]]:
    known = {"origin": "measured", "task": trials.first.task, "arch": trials.first.arch, "epochs": trials.epochs}
    tags = {{"Data": "dataset"}.get(tag, tag.lower()): text for tag, text in trials.tags().items()}
    for metric in trials.metrics():
        if one := Summary.of(trials.results, metric):
            numbers = {"metric": metric, "mean": one.mean, "std": one.std, "trials": len(one.values)}
            yield known | tags | standing | numbers
