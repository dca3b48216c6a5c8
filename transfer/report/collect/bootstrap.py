"""Whether two networks can be told apart: a paired bootstrap over images, and one over seeds.

Over images: each of 1,000 draws takes as many images as were judged, with replacement and the same ones for both
networks, and asks for the difference of their metrics (Efron, 1979; paired as in Koehn, 2004). Over seeds: the results
of each network are drawn with replacement. A few results spread less than what they come from, by a factor that is
known for normal ones (Hesterberg, 2015), so that the interval is widened by it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from transfer.per_image import PerImage, load
from transfer.results import Result

DRAWS, PART = 1000, 100  # draws of images, and how many are in memory together
SEED_DRAWS, SEED = 4_000, 0
ENDS = (2.5, 97.5)  # of an interval, in percent of the draws
NORMAL = 1.959964  # the normal distribution's 97.5 % point
STUDENT = (  # Student's, by degrees of freedom from 1
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
Stamp = tuple[int, ...]
KEPT = 512  # results whose draws are kept for further pairs


@dataclass(frozen=True)
class Interval:
    """Where a difference lies with 95 % confidence. of: what was drawn, such as "10,000 images"."""

    low: float
    high: float
    of: str

    @property
    def apart(self) -> bool:
        """Whether no difference is left out of it."""
        return self.low > 0 or self.high < 0

    def text(self) -> str:
        """ "[+0.41, +1.98], 10,000 images"."""
        return f"[{self.low:+.2f}, {self.high:+.2f}], {self.of}"


def over_images(one: Sequence[Result], other: Sequence[Result], metric: str) -> Interval | None:
    """The interval of mean(one) - mean(other), in the metric's unit, over the images that all of them judged.

    Returns: None where a result keeps no outcomes of that metric, or they judged different images or by another truth.
    """
    paths = [[_path(result) for result in side] for side in (one, other)]
    if not all(paths) or not all(path and metric in kept(path).metrics for side in paths for path in side):
        return None
    first, *rest = (kept(path) for side in paths for path in side if path)
    if not all(again.judges_as(first) for again in rest):
        return None
    sides = [np.mean([_drawn(path, metric) for path in side if path], axis=0) for side in paths]
    differences = sides[0] - sides[1]
    judged = differences[np.isfinite(differences)]  # a draw may have none of the few images that count in a metric
    if not len(judged):
        return None
    low, high = np.percentile(judged, ENDS)
    return Interval(float(low), float(high), f"{first.count(metric):,} images")


def over_seeds(one: Sequence[float], other: Sequence[float]) -> Interval | None:
    """The interval of mean(one) - mean(other) over results with other seeds; None where a side has a single one."""
    least = min(len(one), len(other))
    if least < 2:
        return None
    draw = np.random.default_rng(SEED)
    means = [np.asarray(side)[draw.integers(0, len(side), (SEED_DRAWS, len(side)))].mean(1) for side in (one, other)]
    centre = float(np.mean(one) - np.mean(other))
    freedom = _freedom(one, other)
    student = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    wider = math.sqrt(least / (least - 1)) * student / NORMAL
    low, high = (centre + wider * (end - centre) for end in np.percentile(means[0] - means[1], ENDS))
    return Interval(float(low), float(high), f"{len(one)} and {len(other)} seeds")


def _freedom(one: Sequence[float], other: Sequence[float]) -> int:
    """Welch's degrees of freedom of a difference of means, rounded down."""
    parts = [(float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in (one, other)]
    below = sum(part**2 / count for part, count in parts)
    return (
        max(1, int(sum(part for part, _ in parts) ** 2 / below + 1e-9)) if below else sum(count for _, count in parts)
    )


def kept(path: str) -> PerImage:
    """The outcomes in a file, as it is now.

    Raises:
        UserError: it cannot be read.
    """
    return _kept(path, _stamp(path))


@lru_cache(maxsize=KEPT)
def _kept(path: str, _: Stamp) -> PerImage:
    return load(Path(path))


def _stamp(path: str) -> Stamp:
    """Other numbers where another file lies there; none where none does."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _path(result: Result) -> str:
    return str(result.artefacts.get("per_image") or "")


def _drawn(path: str, metric: str) -> np.ndarray:
    """The metric of a result in every draw (DRAWS,), which are the same for all results of as many images."""
    outcomes = kept(path)
    one_by_one = metric if outcomes.ranks is None and outcomes.pixels is None else outcomes.metrics[0]
    return _drawn_together(path, _stamp(path), one_by_one)[metric]


@lru_cache(maxsize=KEPT)
def _drawn_together(path: str, _: Stamp, metric: str) -> dict[str, np.ndarray]:
    """The same, with all metrics that cost nothing more than this one."""
    outcomes = kept(path)
    parts = [outcomes.together(metric, weights) for weights in _draws(len(outcomes))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draws(images: int) -> Iterator[np.ndarray]:
    """How often each image is in each draw, (PART, images) float32 at a time."""
    draw = np.random.default_rng(SEED)
    for _ in range(DRAWS // PART):
        yield draw.multinomial(images, np.full(images, 1 / images), PART).astype(np.float32)
