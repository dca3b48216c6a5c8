"""What a report consists of, before it is HTML or Markdown: blocks in reading order, and the pictures in them.

A block is plain data. Its kind names the macro of templates/blocks.*.j2 that lays out its other values.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

from PIL import Image

from pretrain.runtime.files import write_atomically
from transfer.report.collect.trials import ABSENT

Block: TypeAlias = SimpleNamespace
TALLEST = 16_383  # pixels of a side of a WebP


def block(kind: str, /, **values: Any) -> Block:
    """A block of any kind; the comments in blocks.html.j2 say which values each kind has."""
    return SimpleNamespace(kind=kind, **values)


def heading(text: str, anchor: str, level: int = 3) -> Block:
    """A title; its `anchor` is where links point to."""
    return block("Heading", text=text, anchor=anchor, level=level)


def note(text: str) -> Block:
    """A paragraph in small print."""
    return block("Text", text=text, style="note")


def table(caption: str, rows: Sequence[Mapping[str, str]], numeric: Collection[str] = (), merged: int = 0) -> Block:
    """A table of texts.

    Args:
        caption: stands above it.
        rows: texts by column; a row has a dash where it lacks a column.
        numeric: right-aligned columns.
        merged: number of leading columns whose repeats are joined.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    texts = [[row.get(name, ABSENT) for name in columns] for row in rows]
    groups = [list(alike) for _, alike in groupby(texts, key=lambda row: row[:merged] if merged else id(row))]
    known = {"columns": columns, "texts": texts, "groups": groups, "numeric": numeric, "merged": merged}
    return block("Table", caption=caption, **known)


@dataclass(frozen=True)
class Figure:
    """An image file with its words."""

    path: Path
    key: str  # names its file beside the Markdown
    caption: str
    alt: str = ""  # "" for the caption's words
    most: int = 1100  # bounds its width in pixels

    def open(self) -> Image.Image:
        """The picture as RGB, at most `most` pixels wide; an OSError where the file is missing or damaged."""
        with Image.open(self.path) as image:
            picture = image.convert("RGB")
        share = min(self.most / picture.width, TALLEST / picture.height)
        if share < 1:
            width, height = (max(1, round(side * share)) for side in picture.size)
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        return picture

    def as_data_uri(self) -> str:
        """As WebP within the page: about a tenth of the PNG's bytes."""
        buffer = io.BytesIO()
        self.open().save(buffer, "WEBP", quality=75, method=4)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def file(self) -> str:
        """Name of its PNG file beside the Markdown."""
        return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in self.key) + ".png"

    def write(self, folder: Path) -> None:
        """Write the PNG file into `folder`, atomically."""
        picture = self.open()
        write_atomically(folder / self.file(), lambda temporary: picture.save(temporary, "PNG", optimize=True))

    def readable(self, notes: list[str]) -> bool:
        """Whether the file can be shown; if not, `notes` gets a sentence why."""
        try:
            self.open()
        except Exception as error:  # Pillow's decoders raise many types; each means the same to the reader
            notes.append(f"{self.path} cannot be shown ({' '.join(str(error).split())}).")
            return False
        return True
