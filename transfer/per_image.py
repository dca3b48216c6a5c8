"""What came of each image, kept small beside a result: with it two networks are compared image by image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import FAULTS, write_atomically
from transfer.classifiers import average_precision, pixel_accuracy
from transfer.classifiers.accuracy import hits, reported

BALANCED = "mean per class"  # a metric of the hits of top1, in which every class weighs the same
HITS, MEANS, NAMES, COUNT, PREFIX = "hits/", "means/", "names", "images", "prefix"
PARTS = ("labels", "ranks", "marks", "pixels")  # fields that are arrays
TRUTH = ("labels", "marks")


@dataclass(frozen=True)
class PerImage:
    """The outcome of each of n judged images.

    names: SHA-256 of their names in their order, by which two results are known to judge the same images. hits: by
    metric (n,) bool. labels: (n,) class indices. ranks: (n, classes), where images that show several classes stand in
    the ranking of each, 0 first. marks: (n, classes) of them. prefix: before the names of the metrics of ranks.
    pixels: (n, classes, 3), as of `pixel_accuracy.tally`. means: by metric (n,) numbers whose mean it is, in its unit;
    NaN for an image that does not count in it.
    """

    names: str
    hits: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    ranks: np.ndarray | None = None
    marks: np.ndarray | None = None
    prefix: str = ""
    pixels: np.ndarray | None = None
    means: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that it tells of each image."""
        balanced = (BALANCED,) if "top1" in self.hits and self.labels is not None else ()
        ranked = tuple(f"{self.prefix}{rule}" for rule in average_precision.RULES) if self.ranks is not None else ()
        return (*self.hits, *balanced, *self.means, *ranked, *(pixel_accuracy.METRICS if self._has_pixels else ()))

    @property
    def _has_pixels(self) -> bool:
        return self.pixels is not None

    def __len__(self) -> int:
        parts = (*self.hits.values(), *self.means.values(), *(getattr(self, name) for name in PARTS))
        return next((len(part) for part in parts if part is not None), 0)

    def count(self, metric: str) -> int:
        """The number of images that count in a metric."""
        return int(np.isfinite(self.means[metric]).sum()) if metric in self.means else len(self)

    def judges_as(self, other: PerImage) -> bool:
        """Whether both judge the same images, by the same truth."""
        there = [None if one.pixels is None else one.pixels[..., pixel_accuracy.THERE] for one in (self, other)]
        truths = [there, *([getattr(one, name) for one in (self, other)] for name in TRUTH)]
        return self.names == other.names and all(_same(*pair) for pair in truths)

    def values(self, metric: str, weights: np.ndarray) -> np.ndarray:
        """The metric in its unit (r,) when image i counts weights[:, i] times, weights (r, n); NaN where none does."""
        return self.together(metric, weights)[metric]

    def together(self, metric: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """As `values`, with the other metrics that cost nothing more."""
        if self.ranks is not None and self.marks is not None:
            of_rules = average_precision.weighted(self.ranks, self.marks, weights)
            return {f"{self.prefix}{rule}": values for rule, values in of_rules.items()}
        if self.pixels is not None:
            sums = weights.astype(np.float64) @ self.pixels.reshape(len(self), -1)
            return pixel_accuracy.means(sums.reshape(len(weights), *self.pixels.shape[1:]))
        return {metric: self._values(metric, weights)}

    def _values(self, metric: str, weights: np.ndarray) -> np.ndarray:
        if metric in self.means:
            known = np.isfinite(self.means[metric])
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(weights[:, known] @ self.means[metric][known] / weights[:, known].sum(1))
        if metric in self.hits:
            return np.asarray(100 * (weights @ self.hits[metric]) / weights.sum(1))
        counts, right = (weights * one @ self._classes for one in (1.0, self.hits["top1"]))
        with np.errstate(invalid="ignore"):
            return 100 * average_precision.mean_of_known((right / counts).T)  # a class without an image does not count

    @cached_property
    def _classes(self) -> np.ndarray:
        """(n, classes) float32, 1 at each image's class."""
        _, places = np.unique(self.labels, return_inverse=True)  # type: ignore[call-overload]  # it has labels here
        return np.asarray(np.eye(places.max() + 1, dtype=np.float32)[places])


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is None and other is None or one is not None and other is not None and np.array_equal(one, other)


def names_sha256(names: Iterable[str]) -> str:
    """By which two lists of names are known to be the same."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def save(path: Path, outcomes: PerImage) -> Path:
    """Write them, a bit an image and metric, and whole numbers in as few bytes as hold them; atomically."""
    arrays: dict[str, np.ndarray] = {NAMES: np.array(outcomes.names), COUNT: np.array(len(outcomes))}
    arrays |= {f"{HITS}{metric}": np.packbits(hits) for metric, hits in outcomes.hits.items()}
    arrays |= {f"{MEANS}{metric}": values.astype(np.float32) for metric, values in outcomes.means.items()}
    arrays |= {PREFIX: np.array(outcomes.prefix)} if outcomes.prefix else {}
    for name in PARTS:
        if (values := getattr(outcomes, name)) is not None:
            kind = np.int8 if name == "marks" else np.min_scalar_type(int(values.max(initial=0)))
            arrays[name] = values.astype(kind)

    def write(draft: Path) -> None:
        """To the very name, to which numpy would add an ending."""
        with open(draft, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    return write_atomically(path, write)


def load(path: Path) -> PerImage:
    """Read what `save` wrote.

    Raises:
        UserError: it is missing, damaged, or its parts do not fit each other.
    """
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            count, held = int(file[COUNT]), {name: file[name] for name in file.files}
        parts: dict[str, Any] = {name: held[name] for name in PARTS if name in held}
        of_hits = {key.removeprefix(HITS): _unpacked(held[key], count) for key in held if key.startswith(HITS)}
        means = {key.removeprefix(MEANS): held[key] for key in held if key.startswith(MEANS)}
        found = PerImage(str(held[NAMES]), of_hits, prefix=str(held.get(PREFIX, "")), means=means, **parts)
        if not _fits(found, count, [*parts.values(), *means.values()]):
            raise ValueError("its parts do not fit each other")
    except FAULTS as error:
        raise UserError(f"{path} cannot be read as outcomes of images ({error}): run that evaluation again.") from error
    return found


def _fits(found: PerImage, count: int, parts: Iterable[np.ndarray]) -> bool:
    """Whether all parts are of so many images, and have the shapes and kinds that belong together."""
    shapes = [one if one is None else one.shape for one in (found.ranks, found.marks)]
    lengths = (
        all(part.ndim and len(part) == count and part.dtype.kind in "uif" for part in parts) and len(found) == count
    )
    means = all(values.ndim == 1 and values.dtype.kind == "f" for values in found.means.values())
    pixels = found.pixels is None or found.pixels.ndim == 3 and found.pixels.shape[2] == 3
    return lengths and means and pixels and shapes[0] == shapes[1] and (shapes[0] is None or len(shapes[0]) == 2)


def _unpacked(packed: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool. Raises ValueError where there are fewer."""
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise ValueError("its parts do not fit each other")
    return np.unpackbits(packed, count=count).astype(bool)


def of_labels(names: Iterable[str], hits: Mapping[str, np.ndarray], labels: np.ndarray) -> PerImage:
    """Of images of one class each. Args: hits, by metric (n,) bool; labels (n,)."""
    return PerImage(names_sha256(names), dict(hits), labels)


def of_scores(names: Iterable[str], scores: torch.Tensor, labels: torch.Tensor) -> PerImage:
    """Of images of one class each, by their scores (n, classes) and labels (n,)."""
    return of_labels(names, hits_of(scores, labels), labels.numpy())


def hits_of(scores: torch.Tensor, labels: torch.Tensor, before: str = "") -> dict[str, np.ndarray]:
    """By metric (n,) bool, of scores (n, classes) and labels (n,). Args: before, before the names of the metrics."""
    return {f"{before}top{k}": hits(scores, labels, k).numpy() for k in reported(scores.shape[1])}


def of_marks(names: Iterable[str], scores: np.ndarray, marks: np.ndarray, prefix: str = "") -> PerImage:
    """Of images that show several classes.

    Args:
        names: of the images.
        scores, marks: (n, classes) each.
        prefix: before the names of the metrics.
    """
    return PerImage(names_sha256(names), ranks=average_precision.ranks_of(scores), marks=marks, prefix=prefix)


def of_pixels(names: Iterable[str], pixels: np.ndarray) -> PerImage:
    """Of images with a class at each pixel. Args: pixels (n, classes, 3), as of `pixel_accuracy.tally`."""
    return PerImage(names_sha256(names), pixels=pixels)


def of_means(names: Iterable[str], means: Mapping[str, np.ndarray]) -> PerImage:
    """Of numbers (n,) of each image whose means are metrics, by metric; NaN where an image does not count."""
    return PerImage(names_sha256(names), means=dict(means))
