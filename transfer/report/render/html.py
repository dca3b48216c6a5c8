"""A document as one self-contained HTML page: nothing fetched, pictures and curves inside, tables that sort."""

from __future__ import annotations

from itertools import takewhile

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from transfer.report.render import charts
from transfer.report.render.document import Charts, Document, Text

HEIGHTS = {2: 230, 4: 150}  # of a plot in pixels, by charts in a row


def environment(autoescape: bool) -> Environment:
    """Jinja for the templates of this folder; a name that is missing is an error. autoescape: for HTML."""
    loader = FileSystemLoader(charts.TEMPLATES)
    made = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["kind"] = lambda block: type(block).__name__
    return made


def to_html(document: Document) -> str:
    """The whole page as text; pictures are read, made smaller and encoded here.

    Raises:
        OSError: a picture vanished since the document was composed.
    """
    made = environment(autoescape=True)
    made.globals |= {
        "file": _file,
        "specification": charts.specification,
        "heights": HEIGHTS,
        "styles": charts.legend,
        "colour": charts.colour,
        "dash": charts.dash,
        "shape": charts.shape,
    }
    opening = list(takewhile(lambda block: isinstance(block, Text), document.blocks))
    drawn = any(isinstance(block, Charts) for block in document.blocks)
    return made.get_template("page.html.j2").render(
        document=document,
        opening=opening,
        rest=document.blocks[len(opening) :],
        runtime=charts.runtime() if drawn else "",
    )


def _file(name: str) -> Markup:
    """The text of a style sheet or script of this folder."""
    return Markup((charts.TEMPLATES / name).read_text(encoding="utf-8").strip())
