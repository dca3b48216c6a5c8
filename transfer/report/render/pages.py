"""Blocks as one self-contained HTML page, and as Markdown with its curves and pictures as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pretrain.runtime.files import write_text
from transfer.report.collect.files import finite
from transfer.report.collect.names import arch_name, images_name, recipe_name
from transfer.report.collect.trials import days_text, epochs_text
from transfer.report.render import charts
from transfer.report.render.document import Block
from transfer.tasks import display_name

HEIGHTS = {2: 230, 4: 150}  # of a plot in pixels, by charts in a row
OPENING = ("Text", "Bars")  # kinds of blocks that stand before the list of sections
MARKUP = re.compile(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)")  # within a word an underscore means nothing
WORDED = (arch_name, days_text, display_name, epochs_text, finite, images_name, recipe_name, round)


def environment(form: str = "") -> Environment:
    """Jinja for the templates of one form, "html" or "md", or for single texts; a name that is missing is an error.

    In HTML every text is escaped. In Markdown the filter `md` puts a text on one line, in which nothing of a file's
    name or of a setting is taken for markup, and `cell` does so within a table.
    """
    loader, html = FileSystemLoader(charts.TEMPLATES), form == "html"
    made = Environment(loader=loader, autoescape=html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"md": _inline, "cell": lambda text: _inline(text).replace("|", "\\|")}
    made.filters["recorded"] = lambda value: value or "not recorded"
    made.globals |= {"specification": charts.specification, "heights": HEIGHTS, "looks": charts.legend}
    made.globals |= {function.__name__: function for function in WORDED}
    return made


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The whole page as text: nothing is fetched; pictures are read, made smaller and encoded here."""
    opening = list(takewhile(lambda block: block.kind in OPENING, blocks))
    runtime = charts.runtime() if any(block.kind == "Charts" for block in blocks) else ""
    page = environment("html").get_template("page.html.j2")
    return page.render(title=title, opening=opening, rest=blocks[len(opening) :], runtime=runtime)


def write_markdown(title: str, blocks: Sequence[Block], out: Path) -> Path:
    """Write OUT/report.md and the figures it shows, OUT/figures/*.svg and *.png."""
    for block in blocks:
        if block.kind == "Bars":
            write_text(out / "figures" / f"{block.bars.key}.svg", block.bars.svg(in_file=True))
        if block.kind == "Parallel":
            write_text(out / "figures" / f"{block.picture.key}.svg", block.picture.svg(in_file=True))
        for chart in block.charts if block.kind == "Charts" else ():
            write_text(out / "figures" / f"{chart.key}.svg", charts.svg_file(chart))
        for figure in block.figures if block.kind == "Figures" else ():
            figure.write(out / "figures")
    return write_text(out / "report.md", to_markdown(title, blocks) + "\n")


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The text alone; it shows figures that `write_markdown` writes. title: "" for none."""
    show = environment("md").get_template("blocks.md.j2").module
    parts = [f"# {_inline(title)}" if title else "", *(str(getattr(show, one.kind)(one)).strip("\n") for one in blocks)]
    return "\n\n".join(filter(None, parts))


def _inline(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
