"""Masks as COCO's JSON writes them: polygons and run lengths, checked before pycocotools reads them.

pycocotools trusts both. Run lengths that do not fill the image leave uninitialised memory in a mask and let its IoU run
without end, a polygon of two points is taken for a box, and one that reaches far out costs memory without bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FEWEST = 6  # numbers of a polygon: three points
MOST_STEPS = 4_000_000  # pixels along a polygon's outline; pycocotools keeps five points for each
MOST_GROUPS = 7  # signs of one run length: 35 bits
Size = tuple[int, int]  # width, height
Mask = list[list[float]] | dict[str, Any]  # polygons, or {"size": [height, width], "counts": compressed run lengths}


def number(value: object) -> float | None:
    """A finite number as a float; None for anything else, for truth values and for numbers of 16 digits or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        return None
    return float(value)


def checked_mask(shape: object, size: Size) -> tuple[Mask | None, int]:
    """A segmentation in one of the two forms that pycocotools reads rightly, and how many parts of it were left out.

    Polygons of fewer than three points are left out, as detectron2 does without a word. The mask is None where nothing
    is left.

    Args: size: of the image, whose pixels run lengths must fill.

    Raises:
        ValueError: neither polygons nor run lengths, or such as do not fit the image; in words after "a mask that".
    """
    if shape is None or shape == []:
        return None, 0
    if isinstance(shape, dict):
        return _checked_runs(shape, size), 0
    if not isinstance(shape, list):
        raise ValueError("is neither a list of polygons nor run lengths")
    if all(number(part) is not None for part in shape):
        raise ValueError("is a list of numbers, not a list of polygons")
    polygons = [part for part in shape if _is_polygon(part, size)]
    return polygons or None, len(shape) - len(polygons)


def _is_polygon(part: object, size: Size) -> bool:
    """Whether a part is a polygon of three points or more."""
    values = [number(value) for value in part] if isinstance(part, list) else [None]
    if not all(value is not None for value in values):
        raise ValueError("holds a polygon with something that is no finite number")
    if len(values) % 2 or len(values) < FEWEST:
        return False
    points = np.array(values, dtype=np.float64).reshape(-1, 2)
    if (points < -np.array(size)).any() or (points > 2 * np.array(size)).any():
        raise ValueError("reaches out of its image by more than the image's own size")
    if np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() > MOST_STEPS:
        raise ValueError(f"has an outline of more than {MOST_STEPS:,} pixels")
    return True


def _checked_runs(shape: dict[str, Any], size: Size) -> Mask | None:
    import pycocotools.mask

    width, height = size
    stated, counts = shape.get("size"), shape.get("counts")
    if not isinstance(stated, (list, tuple)) or [number(side) for side in stated] != [height, width]:
        raise ValueError(f"states the size {stated} (height, width), but its image is {[height, width]}")
    runs = _runs_of_list(counts) if isinstance(counts, list) else _runs_of_text(counts)
    total = int(runs.sum())
    if (runs < 0).any() or total != width * height:
        raise ValueError(f"has run lengths of {total:,} pixels in all, but its image has {width * height:,}")
    if not runs[1::2].sum():
        return None
    if isinstance(counts, list) or not runs[1:].all():  # a run of no pixels would mislead pycocotools' IoU
        coded = pycocotools.mask.frPyObjects({"size": [height, width], "counts": _joined(runs)}, height, width)
        counts = coded["counts"].decode("ascii")
    return {"size": [height, width], "counts": counts}


def _runs_of_list(counts: list[Any]) -> np.ndarray:
    runs = [number(count) for count in counts]
    if not runs or not all(run is not None and run == int(run) for run in runs):
        raise ValueError("has run lengths that are no whole numbers")
    return np.array(runs, dtype=np.int64)


def _runs_of_text(counts: object) -> np.ndarray:
    """Runs of pycocotools' compressed form: signs of five bits of a number, which is the change to two runs before."""
    written = counts.encode("ascii") if isinstance(counts, str) and counts.isascii() else b""
    codes = np.frombuffer(written, np.uint8).astype(np.int64) - ord("0")
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("has run lengths that are damaged or cut short")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > MOST_GROUPS:
        raise ValueError("has run lengths that are damaged or cut short")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= np.where(codes[ends] & 16, np.left_shift(1, 5 * lengths), 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs


def _joined(runs: np.ndarray) -> list[int]:
    """The same mask in runs of which none but the first is empty."""
    joined = [int(runs[0])]
    gap = False
    for run in map(int, runs[1:]):
        if gap:
            joined[-1] += run
            gap = False
        elif run:
            joined.append(run)
        else:
            gap = True
    return joined


def run_lengths(mask: Mask, size: Size) -> dict[str, Any]:
    """A checked mask as pycocotools' compressed run lengths; several polygons are one mask."""
    import pycocotools.mask

    if isinstance(mask, dict):
        return mask
    merged: dict[str, Any] = pycocotools.mask.merge(pycocotools.mask.frPyObjects(mask, size[1], size[0]))
    return merged


def pixels_of(mask: Mask, size: Size) -> np.ndarray:
    """(height, width) bool of a checked mask."""
    import pycocotools.mask

    decoded: np.ndarray = pycocotools.mask.decode(run_lengths(mask, size)).astype(bool)
    return decoded


def area_of(mask: Mask, size: Size) -> float:
    """Pixels of a checked mask."""
    import pycocotools.mask

    area = float(pycocotools.mask.area(run_lengths(mask, size)))
    return area if math.isfinite(area) else 0.0
