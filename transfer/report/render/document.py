"""What a report consists of, before it is HTML or Markdown: plain blocks, in reading order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from transfer.report.render.pictures import Picture
from transfer.report.render.svg import Chart


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

    legend: "shared" stands above them and holds for what follows too, "own" gives every chart its own, "none" has none.
    """

    charts: tuple[Chart, ...]
    columns: int
    legend: Literal["shared", "own", "none"] = "shared"


@dataclass(frozen=True)
class Table:
    """numeric: indices of right-aligned columns. merged: number of leading columns whose repeats are joined."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    merged: int = 0


@dataclass(frozen=True)
class Figure:
    """A picture with its words. key: file name in the Markdown's figures/."""

    picture: Picture
    key: str
    alt: str
    caption: str


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
