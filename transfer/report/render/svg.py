"""Line charts as small SVG, legible in light and dark and without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from transfer.report.collect.find import finite
from transfer.report.render.style import CHART_STYLE, LINE_COLOURS

MOST_COLUMNS = 300  # about one a pixel; of the points of a column the lowest, the highest, first and last are kept
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34
DASHES = ("", "7 4", "1.5 4", "10 3 1.5 3", "14 6")
SHAPES = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.5-3.5h7v7h-7z", "M0-4.6L4.4 3.4H-4.4z", "M0-5L5 0 0 5-5 0z")


@dataclass(frozen=True)
class Line:
    """One run's values; a y that is not finite interrupts the line.

    style: colour, shape of the marks and dashes; without colour the first 20 styles still differ. Lines of one name
    share one style.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: int = 0


@dataclass(frozen=True)
class Chart:
    """A quantity over epochs or steps. key: file name and identity. meaning: one clause under the title."""

    key: str
    title: str
    meaning: str
    x_label: str
    unit: str
    lines: tuple[Line, ...]

    def says(self) -> str:
        """The chart in words, for those who cannot see it: first and last value of every line."""
        parts = []
        for line in self.lines:
            drawn = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
            lost = len(line.y) - len(drawn)
            text = f"{line.name}: no finite value"
            if drawn:
                (x0, y0), (x1, y1) = drawn[0], drawn[-1]
                text = f"{line.name}: {y0:.4g}{self.unit} at {self.x_label} {x0:g}"
                text += f", {y1:.4g}{self.unit} at {x1:g}" if len(drawn) > 1 else " (a single point)"
            parts.append(text + (f", {lost} of {len(line.y)} values not finite" if lost else ""))
        return f"{self.title}. {'; '.join(parts)}."


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
        kept |= {indices[0], indices[-1]}
        real = [index for index in indices if math.isfinite(line.y[index])]
        kept |= {index for index in indices if not math.isfinite(line.y[index])} if len(real) < len(indices) else set()
        if real:
            kept |= {min(real, key=line.y.__getitem__), max(real, key=line.y.__getitem__)}
    order = sorted(kept)
    return replace(line, x=tuple(line.x[i] for i in order), y=tuple(line.y[i] for i in order))


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) from at or below `low` to at or above `high`."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):  # equal but for rounding
        reach = abs(low) * 0.1 or 0.5
        low, high = low - reach, high + reach
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (power * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


def draw(chart: Chart, width: int = 360, height: int = 210, standalone: bool = False) -> str:
    """The chart as one <svg>. standalone: with its own title, legend, colours and background, for a file."""
    lines = [thin(line) for line in chart.lines]
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y if math.isfinite(y)] or [0.0, 1.0]
    x_range = (0.0, max(xs) if max(xs) > 0 else 1.0)  # the same for all charts of a run
    x_ticks, y_ticks = ticks(*x_range), ticks(min(ys), max(ys))
    named = len(legend(lines))
    head = 30 + 17 * (named > 1) * named if standalone else 0
    box = (LEFT, TOP + head, width - RIGHT, head + height - BOTTOM)
    place = _Place(box, x_range, (y_ticks[0], y_ticks[-1]))
    parts = [_axes(chart, place, [x for x in x_ticks if x <= x_range[1]], y_ticks)]
    parts += [_path(line, place, len(lines) > 1) for line in lines]
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {head + height}" role="img" class="chart"'
    if standalone:
        parts.insert(0, f"<style>{CHART_STYLE}</style>" + _head(chart, width, head + height))
        opening += f' width="{width}" height="{head + height}"'
    says = escape(chart.says(), quote=True)
    return f'{opening} aria-label="{says}"><title>{says}</title>{"".join(parts)}</svg>'


@dataclass(frozen=True)
class _Place:
    """From values to pixels inside box (left, top, right, bottom)."""

    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a value lies in the drawing, in its pixels."""
        left, top, right, bottom = self.box
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - top), 1)


def number(value: float) -> str:
    """A tick's label: plain digits, thousands as k, no exponent between 1e-4 and 1e6."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.6g}"


def _axes(chart: Chart, place: _Place, x_ticks: list[float], y_ticks: list[float]) -> str:
    left, _, right, bottom = place.box
    parts = []
    for value in y_ticks:
        _, y = place.at(place.x[0], value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{number(value)}{chart.unit}</text>')
    for value in x_ticks:
        x, _ = place.at(value, place.y[0])
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{number(value)}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{right}" y="{bottom + 31}" text-anchor="end" class="unit">{chart.x_label}</text>')
    return "".join(parts)


def _path(line: Line, place: _Place, among_others: bool) -> str:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if finite(y):
            pieces[-1].append(place.at(x, y))
        elif pieces[-1]:
            pieces.append([])
    pieces = [piece for piece in pieces if piece]
    drawn = [stroke(line.style, f"M{' L'.join(f'{x} {y}' for x, y in piece)}") for piece in pieces if len(piece) > 1]
    colour = f"s{line.style % LINE_COLOURS}"
    dots = [piece[0] for piece in pieces[:-1] if len(piece) == 1]
    drawn += [f'<circle class="mark {colour}" cx="{x}" cy="{y}" r="2"/>' for x, y in dots]
    points = [point for piece in pieces for point in piece]
    if among_others and points:
        drawn += [mark(line.style, *points[round(share * (len(points) - 1))]) for share in _marked(line.style)]
    if points:
        drawn.append(mark(line.style, *points[-1]))
    return "".join(drawn)


def _marked(style: int) -> tuple[float, float]:
    """Where along a line its marks stand, as shares: neighbouring styles stand apart, so that few cover another."""
    offset = (5 * style % 13 + 0.5) / 13
    return 0.45 * offset, 0.5 + 0.45 * offset


def stroke(style: int, path: str) -> str:
    """A line along `path` in the colour and dashes of a style."""
    dashes = DASHES[style // len(SHAPES) % len(DASHES)]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line s{style % LINE_COLOURS}"{pattern} d="{path}"/>'


def mark(style: int, x: float, y: float) -> str:
    """The sign of a style, in its colour and in one of four shapes, centred on (x, y)."""
    shape = SHAPES[style % len(SHAPES)]
    return f'<path class="mark s{style % LINE_COLOURS}" transform="translate({x} {y})" d="{shape}"/>'


def sample(style: int, x: float, y: float) -> str:
    """A piece of line with its mark, for a legend: 44 wide from x on, y its middle."""
    return stroke(style, f"M{x} {y}H{x + 44}") + mark(style, x + 22, y)


def legend(lines: Sequence[Line]) -> dict[str, int]:
    """Style by name, each name once, in the order of styles."""
    return dict(sorted({line.name: line.style for line in lines}.items(), key=lambda entry: entry[1]))


def _head(chart: Chart, width: int, height: int) -> str:
    parts = [f'<rect class="ground" width="{width}" height="{height}"/>']
    parts.append(f'<text class="title" x="{LEFT - 38}" y="24">{escape(chart.title)}</text>')
    named = legend(chart.lines)
    if len(named) > 1:
        for row, (name, style) in enumerate(named.items()):
            parts.append(sample(style, LEFT - 38, 42 + 17 * row))
            parts.append(f'<text x="{LEFT + 14}" y="{46 + 17 * row}">{escape(name)}</text>')
    return "".join(parts)
