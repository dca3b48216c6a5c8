"""The one call of tools/report.py: folders in, report.html, .md, .csv and .json out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_text
from transfer.report.collect.search import Collected, search_folders
from transfer.report.export import write_records
from transfer.report.render.document import Block, Document, Heading
from transfer.report.render.pages import to_html, write_markdown
from transfer.report.sections import sections


def write_report(folders: Sequence[str | Path], out: str | Path, paper: bool = False) -> tuple[Path, Path]:
    """Write OUT/report.html, OUT/report.md with OUT/figures/, OUT/report.csv and .json, of all below `folders`.

    Args: paper, with every table of the paper; then `folders` may be empty.

    Returns: the paths of the page and of the Markdown.

    Raises:
        UserError: a folder is missing, nothing of ours was found, or `out` cannot be a folder.
    """
    return write(collect_inputs(folders, out, paper), out)


def collect_inputs(folders: Sequence[str | Path], out: str | Path, paper: bool) -> Collected:
    """All that a report is made of, once `write_report`'s arguments are seen to fit; its errors."""
    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is a file: give the folder that the report shall be written to.")
    if not folders and not paper:
        raise UserError("no folder is given: name folders of runs or results, or ask for the paper with --paper.")
    data = search_folders(folders) if folders else Collected()
    data.paper = paper
    return data


def write(data: Collected, out: str | Path) -> tuple[Path, Path]:
    """The files of `write_report`: the numbers first, then what is drawn of them."""
    out, document = Path(out), compose(data)
    write_records(data, out)
    markdown = write_markdown(document, out)
    return write_text(out / "report.html", to_html(document)), markdown


def compose(data: Collected) -> Document:
    """The report, from summary to appendix."""
    untested = "Pretraining runs" if len(data.runs) > 1 else "A pretraining run"
    blocks: list[Block] = []
    for section in sections():
        built = list(section.build(data))
        blocks += [Heading(section.title, section.anchor), *built] if built and section.title else built
    return Document("What the pretrained features are worth" if data.results else untested, blocks)
