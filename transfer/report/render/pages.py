"""A document as one self-contained HTML page, and as Markdown with its curves and pictures as files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pretrain.runtime.files import write_text
from transfer.report.render import charts
from transfer.report.render.document import Block, Charts, Document, Figures, Text

HEIGHTS = {2: 230, 4: 150}  # of a plot in pixels, by charts in a row
MARKUP = re.compile(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)")  # within a word an underscore means nothing


def environment(form: str) -> Environment:
    """Jinja for the templates of one form, "html" or "md"; a name that is missing is an error.

    In HTML every text is escaped. In Markdown the filter `md` puts a text on one line, in which nothing of a file's
    name or of a setting is taken for markup, and `cell` does so within a table.
    """
    loader, html = FileSystemLoader(charts.TEMPLATES), form == "html"
    made = Environment(loader=loader, autoescape=html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"kind": _kind, "md": _inline, "cell": lambda text: _inline(text).replace("|", "\\|")}
    made.globals |= {"file": _file, "specification": charts.specification, "heights": HEIGHTS, "looks": charts.legend}
    return made


def to_html(document: Document) -> str:
    """The whole page as text: nothing is fetched; pictures are read, made smaller and encoded here.

    Raises:
        OSError: a picture vanished since the document was composed.
    """
    opening = list(takewhile(lambda block: isinstance(block, Text), document.blocks))
    drawn = any(isinstance(block, Charts) for block in document.blocks)
    page = environment("html").get_template("page.html.j2")
    known = {"opening": opening, "rest": document.blocks[len(opening) :], "runtime": charts.runtime() if drawn else ""}
    return page.render(document=document, **known)


def write_markdown(document: Document, out: Path) -> Path:
    """Write OUT/report.md and the figures it shows, OUT/figures/*.svg and *.png.

    Raises:
        OSError: a picture vanished since the document was composed, or OUT cannot be written.
    """
    for block in document.blocks:
        for chart in block.charts if isinstance(block, Charts) else ():
            write_text(out / "figures" / f"{chart.key}.svg", charts.svg_file(chart))
        for figure in block.figures if isinstance(block, Figures) else ():
            figure.write(out / "figures")
    return write_text(out / "report.md", to_markdown(document))


def to_markdown(document: Document) -> str:
    """The text alone; it shows figures that `write_markdown` writes."""
    return f"# {_inline(document.title)}\n\n{blocks_text(document.blocks)}".strip("\n") + "\n"


def blocks_text(blocks: Iterable[Block]) -> str:
    """The blocks in Markdown with a blank line between them."""
    show = environment("md").get_template("blocks.md.j2").module
    parts = [str(getattr(show, _kind(block))(block)).strip("\n") for block in blocks]
    return "\n\n".join(filter(None, parts))


def _kind(block: Block) -> str:
    return type(block).__name__


def _inline(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _file(name: str) -> Markup:
    """The text of a style sheet or script of this folder."""
    return Markup((charts.TEMPLATES / name).read_text(encoding="utf-8").strip())
