"""A document as Markdown, with its curves and pictures as files in a folder of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment

from pretrain.runtime.files import write_text
from transfer.report.render.charts import svg_file
from transfer.report.render.document import Block, Charts, Document, Figures
from transfer.report.render.html import environment

MARKUP = re.compile(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)")  # within a word an underscore means nothing


def write_markdown(document: Document, out: Path) -> Path:
    """Write OUT/report.md and the figures it shows, OUT/figures/*.svg and *.png.

    Raises:
        OSError: a picture vanished since the document was composed, or OUT cannot be written.
    """
    for block in document.blocks:
        if isinstance(block, Charts):
            for chart in block.charts:
                write_text(out / "figures" / f"{chart.key}.svg", svg_file(chart))
        if isinstance(block, Figures):
            for figure in block.figures:
                figure.picture.as_png(out / "figures" / figure.file())
    return write_text(out / "report.md", to_markdown(document))


def to_markdown(document: Document) -> str:
    """The text alone; it shows figures that `write_markdown` writes."""
    return f"# {_inline(document.title)}\n\n{blocks_text(document.blocks)}".strip("\n") + "\n"


def blocks_text(blocks: Sequence[Block]) -> str:
    """The blocks with a blank line between them."""
    show = markdown_environment().get_template("blocks.md.j2").module
    parts = [str(getattr(show, type(block).__name__)(block)).strip("\n") for block in blocks]
    return "\n\n".join(filter(None, parts))


def markdown_environment() -> Environment:
    """Jinja for Markdown. md: one line, in which nothing of a file's name or of a setting is taken for markup."""
    made = environment(autoescape=False)
    made.filters |= {"md": _inline, "cell": lambda text: _inline(text).replace("|", "\\|")}
    return made


def _inline(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
