"""Generated pictures with known classes, boxes and masks: what they look like and how one is drawn (numpy and PIL).

A class is an outline and a pattern together, such as `ringed_star`: among eight classes every outline and every pattern
belongs to two, so neither tells the class alone. Tones, tints, size, position, tilt, frequency, grain of the background
and lighting are drawn at random for every picture and say nothing about the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

TINT = 0.3  # how far a colour strays from grey
MOST_TILT = 0.15  # of an object, in radians, to either side
SUPERSAMPLING = 3  # an outline is filled at three times the picture's size, then averaged: a soft edge


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners of a regular polygon in the unit disc; with `inner` below 1 every second corner lies that far in."""
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _cross(width: float = 0.34) -> np.ndarray:
    arm = math.sqrt(1 - width * width)
    quarter = np.array([(width, -arm), (width, -width), (arm, -width)])
    turns = [np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) for a in np.arange(4) * np.pi / 2]
    return np.concatenate([quarter @ turn for turn in turns])


OUTLINES: dict[str, np.ndarray] = {  # (corners, 2) in the unit disc, in order around the outline
    "disc": 0.9 * _regular(40),
    "star": _regular(10, inner=0.45),
    "triangle": _regular(3),
    "cross": _cross(),
}


def _wave(phase: np.ndarray) -> np.ndarray:
    """A square wave of period 1 with soft edges, in [0, 1]."""
    return np.clip(0.5 + 2.0 * np.sin(2 * np.pi * phase), 0, 1)


def _striped(x: np.ndarray, y: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    return _wave(frequency * x + phase)


def _checkered(x: np.ndarray, y: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    product = np.sin(np.pi * frequency * x + phase) * np.sin(np.pi * frequency * y + phase)
    return np.clip(0.5 + 3.0 * product, 0, 1)


def _ringed(x: np.ndarray, y: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    return _wave(frequency * np.hypot(x, y) + phase)


def _dotted(x: np.ndarray, y: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    u, v = (frequency * x + phase) % 1 - 0.5, (frequency * y + phase) % 1 - 0.5
    return np.clip((0.3 - np.hypot(u, v)) * 8 + 0.5, 0, 1)


PATTERNS = {"striped": _striped, "checkered": _checkered, "ringed": _ringed, "dotted": _dotted}
MOST_CLASSES = len(OUTLINES) * len(PATTERNS)


def class_names(count: int) -> list[str]:
    """The first `count` (2 to 16) classes, `PATTERN_OUTLINE`; in 8 every outline and every pattern comes twice."""
    assert 2 <= count <= MOST_CLASSES
    outlines, patterns = list(OUTLINES), list(PATTERNS)
    return [f"{patterns[(i + i // 4) % 4]}_{outlines[i % 4]}" for i in range(count)]


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
        """Area inside the outline in square pixels (shoelace formula)."""
        x, y = self.polygon.T
        return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _two_tones(random: np.random.Generator, contrast: float) -> np.ndarray:
    """Two faintly tinted greys (2, 3) in [0, 1] whose grey levels are at least `contrast` apart."""
    while True:
        greys = random.random((2, 1))
        if abs(greys[0] - greys[1]).item() >= contrast:
            return np.clip(greys + TINT * (random.random((2, 3)) - 0.5), 0, 1)


def _background(random: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) in [0, 1]: grain of random strength on a middle, faintly tinted grey.

    Two crops of one background have nothing in common, so what a network can recognise across crops is the object.
    """
    grey = 0.5 + random.uniform(-0.05, 0.05) + TINT * (random.random(3) - 0.5) / 3
    grain = random.normal(0, random.uniform(0.05, 0.12), (size, size, 1))
    return np.clip(grey + grain, 0, 1)


def _paint(
    random: np.random.Generator, canvas: np.ndarray, label: int, name: str, centre: np.ndarray, radius: float
) -> Thing:
    """Draw one object of class `name` into `canvas` (S, S, 3) and return its label and outline."""
    size = len(canvas)
    pattern, outline = name.split("_")
    angle = random.uniform(-MOST_TILT, MOST_TILT)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    polygon = centre + radius * OUTLINES[outline] @ turn
    left, top = np.maximum(np.floor(polygon.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(polygon.max(axis=0)).astype(int), size)
    width, height = int(right - left), int(bottom - top)
    stencil = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    corners = (polygon - (left, top)) * SUPERSAMPLING - 0.5  # PIL's coordinates are those of pixel centres
    ImageDraw.Draw(stencil).polygon([tuple(corner) for corner in corners], fill=255)
    inside = np.asarray(stencil.resize((width, height), Image.Resampling.BOX), np.float64)[..., None] / 255
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    x, y = np.tensordot(turn, np.stack([columns - centre[0], rows - centre[1]]) / radius, axes=1)
    blend = PATTERNS[pattern](x, y, random.uniform(2.0, 2.3), random.random())[..., None]
    first, second = _two_tones(random, 0.5)
    patch = canvas[top:bottom, left:right]
    patch += inside * (first + (second - first) * blend - patch)
    return Thing(label, polygon)


def _light(random: np.random.Generator, canvas: np.ndarray) -> Image.Image:
    """Light the picture from one side, add sensor noise, and round to a PIL image."""
    size = len(canvas)
    rows, columns = np.mgrid[0:size, 0:size] / size - 0.5
    angle = random.random() * 2 * np.pi
    light = random.uniform(0.7, 1.1) + random.uniform(0, 0.6) * (columns * math.cos(angle) + rows * math.sin(angle))
    lit = canvas * light[..., None] + random.normal(0, 0.02, canvas.shape)
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
    radius = random.uniform(0.42, 0.48) * size
    centre = random.uniform(radius, size - radius, 2)
    _paint(random, canvas, label, names[label], centre, radius)
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
    for _ in range(40):  # tries: a crowded picture ends with fewer objects than wanted, never with none
        radius = random.uniform(0.1, 0.24) * size
        centre = random.uniform(radius, size - radius, 2)
        if all(np.hypot(*(centre - other)) > radius + reach for other, reach in placed):
            label = int(random.integers(len(names)))
            things.append(_paint(random, canvas, label, names[label], centre, radius))
            placed.append((centre, radius))
        if len(things) == wanted:
            break
    return _light(random, canvas), things
