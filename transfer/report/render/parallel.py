"""Parallel coordinates: an axis an option and one for what came of it, a line a trial; drawn by Vega."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import vl_convert
from jinja2 import StrictUndefined, Template
from matplotlib.ticker import LogLocator, MaxNLocator

from transfer.report.render.charts import COLOURS, TEMPLATES

BESIDE, HEIGHT, LEAST = 250, 300, 430  # pixels between two axes, of an axis, and of the picture's width at least


@dataclass(frozen=True)
class Axis:
    """One quantity. names: its values where they are words, from below; else low to high, by ratios with `log`."""

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()

    def place(self, value: Any) -> float | None:
        """Where a value stands, from 0 to 1; None for one that the axis lacks."""
        if self.names:
            return (self.names.index(str(value)) + 0.5) / len(self.names) if str(value) in self.names else None
        if not isinstance(value, (int, float)) or not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self) -> list[dict[str, Any]]:
        """{"axis", "y", "label"} of what is written beside it."""
        values: Sequence[Any] = self.names or self._numbers()
        return [
            {"axis": self.title, "y": self.place(value), "label": value if self.names else f"{value:g}"}
            for value in values
        ]

    def _numbers(self) -> list[float]:
        """Round numbers within the axis, and both of its ends where there are fewer than two."""
        for locator in (LogLocator(), LogLocator(subs=(1, 2, 5))) if self.log else (MaxNLocator(5),):
            inside = [float(one) for one in locator.tick_values(self.low, self.high) if self.low <= one <= self.high]
            if len(inside) > 1:
                return inside[:: math.ceil(len(inside) / 8)]
        return [self.low, self.high]


@dataclass(frozen=True)
class Strand:
    """One trial. values: by axis; one that is missing ends the line. group: decides its colour. faint: did not end
    on its own; best: of its group.
    """

    values: tuple[Any, ...]
    group: str
    faint: bool = False
    best: bool = False


@dataclass(frozen=True)
class Parallel:
    """The picture. key: file name and identity. told: the best of each group, in a sentence."""

    key: str
    title: str
    told: str
    axes: tuple[Axis, ...]
    strands: tuple[Strand, ...]

    def in_words(self) -> str:
        """The picture for those who cannot see it."""
        return (
            f"{self.title}: {len(self.strands)} trials over {', '.join(axis.title for axis in self.axes)}. {self.told}"
        )

    def specification(self) -> dict[str, Any]:
        """In Vega-Lite."""
        groups = list(dict.fromkeys(strand.group for strand in self.strands))
        text = (TEMPLATES / "parallel.vl.json.j2").read_text(encoding="utf-8")
        known = {
            "axes": [axis.title for axis in self.axes],
            "ticks": [tick for axis in self.axes for tick in axis.ticks()],
            "points": [point for number, strand in enumerate(self.strands) for point in self._points(number, strand)],
            "groups": groups,
            "colours": [COLOURS[place % len(COLOURS)] for place in range(len(groups))],
            "width": max(LEAST, BESIDE * (len(self.axes) - 1)),
            "height": HEIGHT,
        }
        return dict(json.loads(Template(text, undefined=StrictUndefined).render(known)))

    def _points(self, number: int, strand: Strand) -> list[dict[str, Any]]:
        places = [axis.place(value) for axis, value in zip(self.axes, strand.values, strict=True)]
        look = "best" if strand.best else "faint" if strand.faint else "plain"
        known = {"line": number, "group": strand.group, "look": look}
        return [
            known | {"axis": axis.title, "y": place}
            for axis, place in zip(self.axes, places, strict=True)
            if place is not None
        ]

    def svg(self, in_file: bool = False) -> str:
        """The text of an SVG, which brings the colours of light and dark with it where it stands alone in a file."""
        return _drawn(self, in_file)


@cache
def _drawn(picture: Parallel, in_file: bool) -> str:
    spec = picture.specification() | ({"background": "var(--ground)", "padding": 12} if in_file else {})
    drawn: str = vl_convert.vegalite_to_svg(spec)
    said = escape(picture.in_words())
    style = f"<style>{(TEMPLATES / 'palette.css').read_text(encoding='utf-8')}</style>" if in_file else ""
    opening, _, rest = drawn.partition(">")
    return f'{opening} role="img" aria-label="{said}"><title>{said}</title>{style}{rest}\n'
