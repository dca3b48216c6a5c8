"""Curves, drawn by Vega as templates/curves.vl.json.j2 says: in the page, and as SVG files beside the Markdown."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import StrictUndefined, Template

from transfer.report.collect.files import finite

TEMPLATES = Path(__file__).parent / "templates"
MOST_POINTS, FEWEST_COLUMNS, MOST_COLUMNS = 2400, 40, 300  # of a chart; of a line, about one a pixel
COLOURS = tuple(f"var(--s{index})" for index in range(7))  # of palette.css
COLOUR, USED = re.compile(r"--(\w[\w-]*): (#\w+)"), re.compile(r"var\(--([\w-]+)\)")
DASHES = ((), (7, 4), (1.5, 4), (10, 3, 1.5, 3), (14, 6))
SHAPES = ("circle", "square", "triangle-up", "diamond")
FILE_SIZE = (420, 200)  # width and height of the plot in a file


@dataclass(frozen=True)
class Line:
    """One run's values."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]  # one that is not finite interrupts the line
    style: int = 0  # number of its look; lines of one name share one
    best: int | None = None  # place of the value that is told as the best one


@dataclass(frozen=True)
class Chart:
    """A quantity over epochs or steps. key: file name and identity. meaning: one clause under the title.

    by_ratio: whether equal ratios of x are equally wide; then all x are above 0.
    """

    key: str
    title: str
    meaning: str
    x_label: str
    unit: str
    lines: tuple[Line, ...]
    by_ratio: bool = False

    def in_words(self) -> str:
        """The chart for those who cannot see it: first and last value of every line."""
        parts = []
        for line in self.lines:
            drawn = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
            lost = len(line.y) - len(drawn)
            text = f"{line.name}: no finite value"
            if drawn:
                (x0, y0), (x1, y1) = drawn[0], drawn[-1]
                text = f"{line.name}: {y0:.4g}{self.unit} at {self.x_label} {x0:g}"
                text += f", {y1:.4g}{self.unit} at {x1:g}" if len(drawn) > 1 else " (a single point)"
            if line.best is not None:
                text += f", best {line.y[line.best]:.4g}{self.unit} at {line.x[line.best]:g}"
            parts.append(text + (f", {lost} of {len(line.y)} values not finite" if lost else ""))
        return f"{self.title}. {'; '.join(parts)}."


def specification(chart: Chart, height: int = FILE_SIZE[1], in_file: bool = False) -> dict[str, Any]:
    """The chart in Vega-Lite, as wide as its place, with its own legend where it stands alone in a file."""
    columns = min(MOST_COLUMNS, max(FEWEST_COLUMNS, MOST_POINTS // 4 // len(chart.lines)))
    lines = [_data(number, thin(line, columns), len(chart.lines) > 1) for number, line in enumerate(chart.lines)]
    known = {"chart": chart, "height": height, "in_file": in_file, "lines": lines} | _extent(chart)
    text = (TEMPLATES / "curves.vl.json.j2").read_text(encoding="utf-8")
    return dict(json.loads(Template(text, undefined=StrictUndefined).render(known, looks=legend(chart.lines))))


def _extent(chart: Chart) -> dict[str, float]:
    """The x-axis: its start, its end, and from where on what is written beside a point stands on its left."""
    every = [x for line in chart.lines for x in line.x]
    end = max(every, default=0) or 1
    if not chart.by_ratio:
        return {"start": 0, "end": end, "late": 0.8 * end}
    start = min(every)
    return {"start": start, "end": end, "late": start * (end / start) ** 0.8}


@cache
def svg_file(chart: Chart) -> str:
    """The chart as the text of an SVG file, with its title, its legend, and colours for light and dark."""
    drawn: str = vl_convert.vegalite_to_svg(_alone(chart))
    said, colours = escape(chart.in_words()), (TEMPLATES / "palette.css").read_text(encoding="utf-8")
    opening, _, rest = drawn.partition(">")
    return f'{opening} role="img" aria-label="{said}"><title>{said}</title><style>{colours}</style>{rest}\n'


def png_file(chart: Chart) -> bytes:
    """The same as a PNG file, in the light colours; twice as many pixels as the SVG has units."""
    colours = (TEMPLATES / "palette.css").read_text(encoding="utf-8")
    light = dict(reversed(COLOUR.findall(colours)))  # the first that stands there of each name
    spec = USED.sub(lambda use: light[use[1]], json.dumps(_alone(chart)))
    return bytes(vl_convert.vegalite_to_png(json.loads(spec), scale=2))


def _alone(chart: Chart) -> dict[str, Any]:
    """The specification of a chart in a file of its own."""
    spec = specification(chart, in_file=len(legend(chart.lines)) > 1)
    spec |= {"title": chart.title, "width": FILE_SIZE[0], "background": "var(--ground)"}
    return spec | {"autosize": "pad", "padding": 12}


@cache
def runtime() -> str:
    """Vega's JavaScript as vl-convert holds it, about 0.9 MB: the one script of the page that is not ours."""
    script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub lacks the default
    return script.replace("</body", "<\\/body").replace("</script", "<\\/script")


def thin(line: Line, columns: int = MOST_COLUMNS) -> Line:
    """At most four points in each of `columns` equal slices of x; peaks, troughs and gaps stay where they are."""
    if len(line.x) <= 2 * columns:
        return line
    low, width = min(line.x), (max(line.x) - min(line.x)) / columns or 1.0
    slices: dict[int, list[int]] = {}
    for index, x in enumerate(line.x):
        slices.setdefault(int((x - low) / width), []).append(index)
    kept: set[int] = set()
    for indices in slices.values():
        real = [index for index in indices if math.isfinite(line.y[index])]
        kept |= {indices[0], indices[-1]} | set(indices).difference(real)
        if real:
            kept |= {min(real, key=line.y.__getitem__), max(real, key=line.y.__getitem__)}
    order = sorted(kept)
    best = None if line.best is None else order.index(line.best)  # a peak, which stays
    return replace(line, x=tuple(line.x[i] for i in order), y=tuple(line.y[i] for i in order), best=best)


def look(style: int) -> dict[str, Any]:
    """How a line is drawn, by dash and mark alone for the first 20 styles. dash: lengths of dashes and gaps."""
    dash, shape = DASHES[style // len(SHAPES) % len(DASHES)], SHAPES[style % len(SHAPES)]
    return {"colour": COLOURS[style % len(COLOURS)], "dash": dash, "shape": shape}


def legend(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Looks by name, each name once, in the order of styles."""
    styles = {line.name: line.style for line in lines}
    return {name: look(styles[name]) for name in sorted(styles, key=styles.__getitem__)}


def _data(number: int, line: Line, among_others: bool) -> dict[str, Any]:
    """One line for the specification. marked: the last point, points that stand alone, and among others two more."""
    real = [index for index, y in enumerate(line.y) if finite(y)]
    marked = set(real[-1:]) | {index for index in real if not {index - 1, index + 1} & set(real)}
    if among_others and real:
        offset = 0.45 * (5 * line.style % 13 + 0.5) / 13  # so that few marks of neighbouring styles cover another
        marked |= {real[round(share * (len(real) - 1))] for share in (offset, 0.5 + offset)}
    y = [value if finite(value) else None for value in line.y]
    flags = [int(index in marked) for index in range(len(y))]
    best = [int(index == line.best) for index in range(len(y))]
    return {"line": number, "name": line.name, "x": list(line.x), "y": y, "marked": flags, "best": best}
