"""Generated pictures with known classes, boxes and masks: what they look like and how one is drawn (numpy and PIL).

A class is an outline, and all outlines cover the same area. Everything else is drawn at random for every picture and
says nothing about the class: colour, size, place and tilt of the object, tint and grain of the background, strength and
direction of the light. These are also what the views of pretraining change, so that two views of a picture share
hardly more than the outline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

AREA = 1.5  # of every outline, in squares of the object's radius; a disc of this radius would have π
MOST_TILT = 0.25  # of an object, in radians, to either side
CONTRAST = 0.3  # least distance of an object's grey level from the background's, before either is tinted
TINT = 0.6  # most by which a channel of an object's colour strays from grey
BACKGROUND_TINT = 0.18  # the same for the background's
GRAIN = 0.1  # standard deviation of the background's grain
SENSOR = 0.02  # standard deviation of the noise of the whole picture
SUPERSAMPLING = 4  # an outline is filled at four times the picture's size, then averaged: a soft edge


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners of a regular polygon in the unit disc; with `inner` below 1 every second corner lies that far in."""
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _cross(width: float = 0.28) -> np.ndarray:
    quarter = np.array([(width, -1), (width, -width), (1, -width)])
    turns = [np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) for a in np.arange(4) * np.pi / 2]
    return np.concatenate([quarter @ turn for turn in turns])


def _crescent(corners: int = 24, shift: float = 0.55) -> np.ndarray:
    """Three quarters of the unit circle, and the way back along a circle whose centre lies `shift` to the right."""
    angles = np.linspace(0.25, 1.75, corners) * np.pi
    outer = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    end = outer[0] - (shift, 0)
    back = np.linspace(2 * np.pi - math.atan2(end[1], end[0]), math.atan2(end[1], end[0]), corners)
    inner = np.hypot(*end) * np.stack([np.cos(back), np.sin(back)], axis=1) + (shift, 0)
    return np.concatenate([outer, inner])


def _corners(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=float)


def area_of(polygon: np.ndarray) -> float:
    """Area inside an outline (corners, 2), by the shoelace formula."""
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _of_equal_area(polygon: np.ndarray) -> np.ndarray:
    """The outline about the middle of its box, scaled to AREA."""
    centred = polygon - (polygon.max(axis=0) + polygon.min(axis=0)) / 2
    scaled: np.ndarray = centred * math.sqrt(AREA / area_of(centred))
    return scaled


_DRAWN = {
    "disc": _regular(40),
    "cross": _cross(),
    "triangle": _regular(3),
    "bar": _corners((-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)),
    "star": _regular(10, inner=0.42),
    "cup": _corners((-1, -1), (-0.4, -1), (-0.4, 0.4), (0.4, 0.4), (0.4, -1), (1, -1), (1, 1), (-1, 1)),
    "crescent": _crescent(),
    "tee": _corners((-1, -1), (1, -1), (1, -0.4), (0.3, -0.4), (0.3, 1), (-0.3, 1), (-0.3, -0.4), (-1, -0.4)),
    "diamond": _regular(4),
    "ell": _corners((-0.8, -1), (-0.15, -1), (-0.15, 0.4), (0.8, 0.4), (0.8, 1), (-0.8, 1)),
    "arrow": _corners((0, -1), (0.8, 0), (0.3, 0), (0.3, 1), (-0.3, 1), (-0.3, 0), (-0.8, 0)),
    "hourglass": _corners((-0.7, -1), (0.7, -1), (0.15, 0), (0.7, 1), (-0.7, 1), (-0.15, 0)),
}
OUTLINES: dict[str, np.ndarray] = {name: _of_equal_area(drawn) for name, drawn in _DRAWN.items()}  # (corners, 2)
MOST_CLASSES = len(OUTLINES)


def class_names(count: int) -> list[str]:
    """The first `count` (2 to 12) outlines."""
    assert 2 <= count <= MOST_CLASSES
    return list(OUTLINES)[:count]


@dataclass(frozen=True)
class Thing:
    """One drawn object: class index, outline polygon (corners, 2) as x, y in pixels (0 is the left or top edge)."""

    label: int
    polygon: np.ndarray

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width, height in pixels."""
        left, top = self.polygon.min(axis=0)
        right, bottom = self.polygon.max(axis=0)
        return float(left), float(top), float(right - left), float(bottom - top)

    def area(self) -> float:
        """Area inside the outline in square pixels."""
        return area_of(self.polygon)


def _colour(random: np.random.Generator) -> np.ndarray:
    """A colour (3,) in [0, 1], lighter or darker than the middle grey of the backgrounds."""
    grey = 0.5 + random.choice((-1, 1)) * random.uniform(CONTRAST, 0.5)
    colour: np.ndarray = np.clip(grey + TINT * random.uniform(-1, 1, 3), 0, 1)
    return colour


def _background(random: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3): grain on a middle, tinted grey."""
    return 0.5 + BACKGROUND_TINT * random.uniform(-1, 1, 3) + random.normal(0, GRAIN, (size, size, 1))


def _paint(random: np.random.Generator, canvas: np.ndarray, thing: Thing) -> None:
    """Fill one object in `canvas` (S, S, 3) with a colour, as far as it lies inside."""
    size = len(canvas)
    left, top = np.clip(np.floor(thing.polygon.min(axis=0)).astype(int), 0, size)
    right, bottom = np.clip(np.ceil(thing.polygon.max(axis=0)).astype(int), 0, size)
    width, height = int(right - left), int(bottom - top)
    stencil = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    corners = (thing.polygon - (left, top)) * SUPERSAMPLING - 0.5  # PIL's coordinates are those of pixel centres
    ImageDraw.Draw(stencil).polygon([tuple(corner) for corner in corners], fill=255)
    inside = np.asarray(stencil.resize((width, height), Image.Resampling.BOX), np.float64)[..., None] / 255
    patch = canvas[top:bottom, left:right]
    patch += inside * (_colour(random) - patch)


def _place(random: np.random.Generator, label: int, name: str, centre: np.ndarray, radius: float) -> Thing:
    """An object of class `name` at a random tilt; `radius` in pixels, of AREA."""
    angle = random.uniform(-MOST_TILT, MOST_TILT)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return Thing(label, centre + radius * OUTLINES[name] @ turn)


def _light(random: np.random.Generator, canvas: np.ndarray) -> Image.Image:
    """Light the picture from one side, add sensor noise, and round to a PIL image."""
    size = len(canvas)
    rows, columns = np.mgrid[0:size, 0:size] / size - 0.5
    angle = random.random() * 2 * np.pi
    light = random.uniform(0.6, 1.4) + random.uniform(0, 0.2) * (columns * math.cos(angle) + rows * math.sin(angle))
    lit = canvas * light[..., None] + random.normal(0, SENSOR, canvas.shape)
    return Image.fromarray((np.clip(lit, 0, 1) * 255 + 0.5).astype(np.uint8))


def draw_object(random: np.random.Generator, label: int, names: list[str], size: int) -> Image.Image:
    """One picture of one object.

    Args:
        random: draws everything but the class.
        label: index of the class.
        names: of the classes.
        size: side in pixels.
    """
    canvas = _background(random, size)
    centre = size * (0.5 + random.uniform(-0.05, 0.05, 2))
    thing = _place(random, label, names[label], centre, random.uniform(0.35, 0.39) * size)
    _paint(random, canvas, thing)
    return _light(random, canvas)


def draw_scene(
    random: np.random.Generator, names: list[str], size: int, most: int = 5
) -> tuple[Image.Image, list[Thing]]:
    """One picture of several objects that lie inside it and do not overlap, and the objects.

    Args:
        random: draws everything, the classes too.
        names: of the classes.
        size: side in pixels.
        most: objects are one to so many.
    """
    canvas = _background(random, size)
    things: list[Thing] = []
    placed: list[tuple[np.ndarray, float]] = []
    wanted = int(random.integers(1, most + 1))
    while len(things) < wanted:
        for _ in range(40):  # tries: a crowded picture ends with fewer objects than wanted, never with none
            label = int(random.integers(len(names)))
            radius = random.uniform(0.1, 0.2) * size
            reach = radius * float(np.hypot(*OUTLINES[names[label]].T).max())
            centre = random.uniform(reach, size - reach, 2)
            if all(np.hypot(*(centre - other)) > reach + taken for other, taken in placed):
                things.append(_place(random, label, names[label], centre, radius))
                placed.append((centre, reach))
                break
        else:
            break
    for thing in things:
        _paint(random, canvas, thing)
    return _light(random, canvas), things
