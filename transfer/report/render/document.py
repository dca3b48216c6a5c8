"""What a report consists of, before it is HTML or Markdown: plain blocks, in reading order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

from transfer.report.collect.trials import ABSENT, Row
from transfer.report.render.charts import Chart
from transfer.report.render.pictures import Figure


class Heading(NamedTuple):
    """A section's title; its `anchor` is where links point to."""

    text: str
    anchor: str
    level: int = 2


class Text(NamedTuple):
    """A paragraph. kind: lead (the summary line), plain, note (small print) or warning (framed)."""

    text: str
    kind: str = "plain"


class Bullets(NamedTuple):
    """A list of sentences."""

    items: Collection[str]


class Facts(NamedTuple):
    """A box of names and values. code: names whose value is a command or a hash."""

    title: str
    values: Mapping[str, str]
    code: Collection[str] = ()


class Tile(NamedTuple):
    """A headline number beside that of random initialisation, and under what it was measured."""

    label: str
    context: str
    row: Row


class Tiles(NamedTuple):
    """Headline numbers side by side."""

    tiles: Sequence[Tile]


class Charts(NamedTuple):
    """Curves side by side, `columns` of them in a row where there is room.

    legend: "shared" stands above them and holds for what follows too, "own" gives every chart its own.
    """

    charts: Sequence[Chart]
    columns: int
    legend: Literal["shared", "own"] = "shared"


class Table(NamedTuple):
    """A table of texts by column; a row has a dash where it lacks a column.

    numeric: right-aligned columns. merged: number of leading columns whose repeats are joined.
    """

    caption: str
    rows: Sequence[Mapping[str, str]]
    numeric: Collection[str] = ()
    merged: int = 0

    def columns(self) -> list[str]:
        """Names of all columns, in the order in which rows bring them."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def texts(self) -> list[list[str]]:
        """The cells of every row."""
        names = self.columns()
        return [[row.get(name, ABSENT) for name in names] for row in self.rows]

    def cells(self) -> Iterator[list[tuple[str, str, int]]]:
        """Every row's cells: column, text, and number of rows, since repeats of the `merged` leading cells are one."""
        names = self.columns()
        for _, group in groupby(self.texts(), key=lambda row: row[: self.merged] if self.merged else id(row)):
            together = list(group)
            spans = [len(together)] * self.merged + [1] * (len(names) - self.merged)
            for place, row in enumerate(together):
                yield [*zip(names, row, spans, strict=True)][self.merged if place else 0 :]


class Figures(NamedTuple):
    """Pictures in rows of `columns`; on a narrow screen below one another."""

    figures: Sequence[Figure]
    columns: int = 1


Block: TypeAlias = Heading | Text | Bullets | Facts | Tiles | Charts | Table | Figures


class Document(NamedTuple):
    """A title and its blocks."""

    title: str
    blocks: Sequence[Block]
