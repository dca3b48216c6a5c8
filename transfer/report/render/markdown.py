"""A document as Markdown, with its charts and pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pretrain.runtime.files import write_text
from transfer.report.render.document import (
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
    Tiles,
)
from transfer.report.render.svg import draw

MARKUP = re.compile(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)")  # within a word an underscore means nothing


def write_markdown(document: Document, out: Path) -> Path:
    """Write OUT/report.md and the figures it shows, OUT/figures/*.svg and *.png.

    Raises:
        OSError: a picture vanished since the document was composed, or OUT cannot be written.
    """
    return write_text(out / "report.md", to_markdown(document, out))


def to_markdown(document: Document, out: Path) -> str:
    """The text alone; its figures, if any, are written to OUT/figures.

    Raises:
        OSError: a picture vanished since the document was composed, or OUT cannot be written.
    """
    parts = [f"# {_inline(document.title)}"]
    parts += [_WRITERS[type(block)](block, out) for block in document.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(block: Heading, _: Path) -> str:
    return f"{'#' * block.level} {_inline(block.text)}"


def _text(block: Text, _: Path) -> str:
    return f"> **{_inline(block.text)}**" if block.kind == "warning" else _inline(block.text)


def _bullets(block: Bullets, _: Path) -> str:
    return "\n".join(f"- {_inline(item)}" for item in block.items)


def _facts(block: Facts, _: Path) -> str:
    def value(name: str, text: str) -> str:
        return f"`{text.replace('`', chr(39))}`" if name in block.code and text else _inline(text)

    return f"### {_inline(block.title)}\n\n" + "\n".join(f"- {name}: {value(name, text)}" for name, text in block.pairs)


def _code(block: Code, _: Path) -> str:
    return f"```{block.language}\n{block.text.strip()}\n```"


def _tiles(block: Tiles, _: Path) -> str:
    lines = []
    for tile in block.tiles:
        values = ", ".join(f"{bar.name} {bar.text}" for bar in tile.bars)
        lines.append(_inline(f"{tile.label}: {tile.difference} ({tile.reading}); {values}; {tile.context}"))
    return "\n".join(f"- {line}" for line in lines)


def _charts(block: Charts, out: Path) -> str:
    for chart in block.charts:
        write_text(out / "figures" / f"{chart.key}.svg", draw(chart, 480, 260, standalone=True) + "\n")
    return "\n\n".join(
        f"![{_inline(chart.says())}](figures/{chart.key}.svg)\n\n{chart.title}: {chart.meaning}."
        for chart in block.charts
    )


def _table(block: Table, _: Path) -> str:
    rule = ["---:" if index in block.numeric else "---" for index in range(len(block.columns))]
    rows = [block.columns, tuple(rule), *block.rows]
    lines = "\n".join("| " + " | ".join(_cell(text) for text in row) + " |" for row in rows)
    return f"{_inline(block.caption)}\n\n{lines}"


def _figures(block: Figures, out: Path) -> str:
    """Every picture over its caption; rows of several as rows of a table, so that they stay side by side."""
    shown = []
    for figure in block.figures:
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in figure.key) + ".png"
        figure.picture.as_png(out / "figures" / name)
        shown.append((f"![{_inline(figure.alt)}](figures/{name})", _inline(figure.caption)))
    if block.columns == 1:
        return "\n\n".join(f"{image}\n\n{caption}" for image, caption in shown)
    blank = "|" + "  |" * block.columns + "\n|" + " --- |" * block.columns
    rows = [shown[first : first + block.columns] for first in range(0, len(shown), block.columns)]
    lines = ["| " + " | ".join(f"{image}<br>{caption}" for image, caption in row) + " |" for row in rows]
    return "\n".join([blank, *lines])


def _inline(text: str) -> str:
    """One line, in which nothing of a file's name or of a setting is taken for markup."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _cell(text: str) -> str:
    return text if set(text) <= {"-", ":"} and len(text) > 2 else _inline(text).replace("|", "\\|")


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
