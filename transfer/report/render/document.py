"""What a report consists of, before it is HTML or Markdown: plain blocks, in reading order."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, TypeAlias

from transfer.report.render.charts import Chart, Line
from transfer.report.render.pictures import Picture

Legend: TypeAlias = Literal["shared", "own"]


@dataclass(frozen=True)
class Heading:
    """A section's title; its `anchor` is where links point to."""

    text: str
    anchor: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: lead (the summary line), plain, note (small print) or warning (framed)."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A box of names and values. code: names whose value is a command or a hash."""

    title: str
    pairs: tuple[tuple[str, str], ...]
    code: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are. language: of a fenced block in Markdown."""

    text: str
    language: str


@dataclass(frozen=True)
class Bar:
    """A value within a tile: its text, and mean and std as shares (0..1) of the tile's scale."""

    name: str
    text: str
    share: float
    spread: float


@dataclass(frozen=True)
class Tile:
    """One headline number. tone: good, bad, or open where nothing can be concluded."""

    label: str
    context: str
    difference: str
    reading: str
    tone: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Tiles:
    """Headline numbers side by side."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Charts:
    """Curves side by side, `columns` of them in a row where there is room.

    legend: "shared" stands above them and holds for what follows too, "own" gives every chart its own.
    """

    charts: tuple[Chart, ...]
    columns: int
    legend: Legend = "shared"

    def lines(self) -> list[Line]:
        """Of all charts, for the legend that they share."""
        return [line for chart in self.charts for line in chart.lines]


@dataclass(frozen=True)
class Cell:
    """A cell of a table in HTML. rows: how many it spans."""

    column: int
    text: str
    rows: int = 1


@dataclass(frozen=True)
class Table:
    """numeric: indices of right-aligned columns. merged: number of leading columns whose repeats are joined."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    merged: int = 0

    def cells(self) -> list[list[Cell]]:
        """Every row's cells; where the `merged` leading cells repeat, they stand once for all their rows."""
        written = []
        for _, group in groupby(self.rows, key=lambda row: row[: self.merged] if self.merged else id(row)):
            together = list(group)
            for place, row in enumerate(together):
                first = 0 if place == 0 else self.merged
                spans = [len(together) if column < self.merged else 1 for column in range(len(row))]
                written.append([Cell(column, row[column], spans[column]) for column in range(first, len(row))])
        return written


@dataclass(frozen=True)
class Figure:
    """A picture with its words. key: file name in the Markdown's figures/."""

    picture: Picture
    key: str
    alt: str
    caption: str

    def file(self) -> str:
        """Name of its file beside the Markdown."""
        return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in self.key) + ".png"


@dataclass(frozen=True)
class Figures:
    """Pictures in rows of `columns`; on a narrow screen below one another."""

    figures: tuple[Figure, ...]
    columns: int = 1


Block: TypeAlias = Heading | Text | Bullets | Facts | Code | Tiles | Charts | Table | Figures


@dataclass
class Document:
    """A title and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)
