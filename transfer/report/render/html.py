"""A document as one self-contained HTML page: nothing fetched, pictures and charts inside, tables that sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from transfer.report.render.document import (
    Bar,
    Block,
    Bullets,
    Charts,
    Code,
    Document,
    Facts,
    Figures,
    Heading,
    Table,
    Text,
    Tile,
    Tiles,
)
from transfer.report.render.script import PAGE_SCRIPT
from transfer.report.render.style import PAGE_STYLE
from transfer.report.render.svg import Chart, Line, draw, legend, sample

SHORT, LONG = 20, 60  # characters: a cell keeps so many on one line, and gets a wide column beyond so many
SIZES = {2: (560, 300), 4: (305, 205)}  # of a chart, by charts in a row: about what they are shown at
NARROW = 4  # a table of no more columns is only as wide as they are
WIDE = 9  # a table of more columns takes the width it needs and scrolls


def to_html(document: Document) -> str:
    """The whole page as text; pictures are read, made smaller and encoded here.

    Raises:
        OSError: a picture vanished since the document was composed.
    """
    sections = [block for block in document.blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#{block.anchor}">{escape(block.text)}</a>' for block in sections)
    body = "\n".join(_WRITERS[type(block)](block) for block in document.blocks)
    title = escape(document.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}\n'
        f"<footer>Every number on this page was computed from the run folders and result files named on it.</footer>\n"
        f"</main>\n<script>{PAGE_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _heading(block: Heading) -> str:
    return f'<h{block.level} id="{block.anchor}">{escape(block.text)}</h{block.level}>'


def _text(block: Text) -> str:
    role = ' role="note"' if block.kind == "warning" else ""
    return f'<p class="{block.kind}"{role}>{escape(block.text)}</p>'


def _bullets(block: Bullets) -> str:
    return f'<ul class="remarks">{"".join(f"<li>{escape(item)}</li>" for item in block.items)}</ul>'


def _facts(block: Facts) -> str:
    def value(name: str, text: str) -> str:
        return f"<code>{escape(text)}</code>" if name in block.code else escape(text)

    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{value(name, text)}</dd>" for name, text in block.pairs)
    return f'<section class="facts"><h3>{escape(block.title)}</h3><dl>{pairs}</dl></section>'


def _code(block: Code) -> str:
    return f'<pre class="scroll" tabindex="0"><code>{escape(block.text.strip())}</code></pre>'


def _tiles(block: Tiles) -> str:
    return f'<ul class="tiles">{"".join(_tile(tile) for tile in block.tiles)}</ul>'


def _tile(tile: Tile) -> str:
    bars = "".join(_bar(bar) for bar in tile.bars)
    return (
        f'<li class="tile {tile.tone}"><span class="label">{escape(tile.label)}</span>'
        f'<span class="difference">{escape(tile.difference)}</span><span class="reading">{escape(tile.reading)}</span>'
        f'{bars}<span class="context">{escape(tile.context)}</span></li>'
    )


def _bar(bar: Bar) -> str:
    low = max(0.0, bar.share - bar.spread)
    style = f"left:{100 * low:.2f}%;width:{100 * (bar.share + bar.spread - low):.2f}%"
    whisker = f'<span class="whisker" style="{style}"></span>' if bar.spread else ""
    return (
        f'<div class="bar {bar.name}"><div class="text"><span>{bar.name}</span><span>{escape(bar.text)}</span></div>'
        f'<div class="track"><span class="fill" style="width:{100 * bar.share:.2f}%"></span>{whisker}</div></div>'
    )


def _charts(block: Charts) -> str:
    width, height = SIZES[block.columns]
    figures = "".join(_chart(chart, width, height, block.legend == "own") for chart in block.charts)
    above = _legend([line for chart in block.charts for line in chart.lines]) if block.legend == "shared" else ""
    return f'{above}<div class="charts c{block.columns}">{figures}</div>'


def _chart(chart: Chart, width: int, height: int, own_legend: bool) -> str:
    names = _legend(chart.lines) if own_legend else ""
    caption = f"{escape(chart.title)}<small>{escape(chart.meaning)}</small>{names}"
    return f"<figure><figcaption>{caption}</figcaption>{draw(chart, width, height)}</figure>"


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 46 12" aria-hidden="true">{sample(style, 1, 6)}</svg>{escape(name)}</li>'
        for name, style in legend(lines).items()
    )
    return f'<ul class="legend">{items}</ul>'


def _table(block: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(index, name, block)}>{escape(name)}</th>' for index, name in enumerate(block.columns)
    )
    rows = "".join(f"<tr>{cells}</tr>" for cells in _rows(block, block.rows))
    wide = " wide" if len(block.columns) > WIDE else " narrow" if len(block.columns) <= NARROW else ""
    return (
        f'<div class="scroll{wide}" tabindex="0" role="region" aria-label="{escape(block.caption, quote=True)}"><table>'
        f"<caption><span>{escape(block.caption)}</span></caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _rows(block: Table, rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The cells of every row; where the leading `merged` cells repeat, they are written once for all their rows."""
    if not block.merged:
        return ["".join(_cell(index, text, block) for index, text in enumerate(row)) for row in rows]
    written = []
    for leading, group in groupby(rows, key=lambda row: row[: block.merged]):
        together = list(group)
        span = f' rowspan="{len(together)}"' if len(together) > 1 else ""
        first = f'<th scope="rowgroup"{span}>{escape(leading[0])}</th>'
        first += "".join(
            f"<td{_kind(index, text, block)}{span}>{escape(text)}</td>" for index, text in enumerate(leading) if index
        )
        for row in together:
            written.append(first + "".join(_cell(i, row[i], block) for i in range(block.merged, len(row))))
            first = ""
    return written


def _cell(index: int, text: str, block: Table) -> str:
    return f"<td{_kind(index, text, block)}>{escape(text)}</td>"


def _kind(index: int, text: str, block: Table) -> str:
    """A cell's class: numbers stand right-aligned, short words on one line, long texts get room."""
    size = "short" if len(text) <= SHORT else "long" if len(text) > LONG else "medium"
    return f' class="number {size}"' if index in block.numeric else f' class="{size}"'


def _figures(block: Figures) -> str:
    figures = "".join(
        f'<figure><img src="{figure.picture.as_data_uri()}" alt="{escape(figure.alt, quote=True)}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for figure in block.figures
    )
    return f'<div class="pictures c{block.columns}">{figures}</div>'


_WRITERS: dict[type[Block], Callable[..., str]] = {
    Heading: _heading,
    Text: _text,
    Bullets: _bullets,
    Facts: _facts,
    Code: _code,
    Tiles: _tiles,
    Charts: _charts,
    Table: _table,
    Figures: _figures,
}
