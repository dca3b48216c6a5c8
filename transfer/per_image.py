"""What came of each image, kept small beside a result: with it two networks are compared image by image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import FAULTS, write_atomically
from transfer.classifiers.accuracy import hits, reported

BALANCED = "mean per class"  # a metric of the hits of top1, in which every class weighs the same
RANKED = "mAP 11-point"
POINTS = np.arange(11) / 10
HITS, LABELS, RANKS, MARKS, NAMES, COUNT = "hits/", "labels", "ranks", "marks", "names", "images"


@dataclass(frozen=True)
class PerImage:
    """The outcome of each of n judged images.

    names: SHA-256 of their names in their order, by which two results are known to judge the same images. hits: by
    metric (n,) bool. labels: (n,) class indices. ranks: (n, classes), where images that show several classes stand in
    the ranking of each, 0 first. marks: (n, classes) of them.
    """

    names: str
    hits: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    ranks: np.ndarray | None = None
    marks: np.ndarray | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that it tells of each image."""
        balanced = (BALANCED,) if "top1" in self.hits and self.labels is not None else ()
        return (*self.hits, *balanced, *((RANKED,) if self.ranks is not None else ()))

    def __len__(self) -> int:
        first = next(iter(self.hits.values()), self.ranks)
        return 0 if first is None else len(first)

    def values(self, metric: str, weights: np.ndarray) -> np.ndarray:
        """The metric in percent (r,) when image i counts weights[:, i] times, weights (r, n)."""
        if metric == RANKED:
            return self._ranked(weights)
        if metric != BALANCED:
            return np.asarray(100 * (weights @ self.hits[metric]) / weights.sum(1))
        counts, right = (weights * one @ self._classes for one in (1.0, self.hits["top1"]))
        with np.errstate(invalid="ignore"):
            return np.asarray(
                100 * np.nanmean(right / counts, axis=1)
            )  # a class without an image in the draw does not count

    @cached_property
    def _classes(self) -> np.ndarray:
        """(n, classes) float32, 1 at each image's class."""
        _, places = np.unique(self.labels, return_inverse=True)  # type: ignore[call-overload]  # it has labels here
        return np.asarray(np.eye(places.max() + 1, dtype=np.float32)[places])

    def _ranked(self, weights: np.ndarray) -> np.ndarray:
        """Mean over classes of VOC's 11-point rule (r,), of images that count several times or not at all."""
        assert self.ranks is not None and self.marks is not None
        found = []
        for ranks, marks in zip(self.ranks.T, self.marks.T, strict=True):
            order = np.argsort(ranks, kind="stable")
            judged = order[marks[order] >= 0]
            times = weights[:, judged]
            right = np.cumsum(times * (marks[judged] == 1), axis=1, dtype=np.float64)
            precision = right / np.maximum(np.cumsum(times, axis=1, dtype=np.float64), 1)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            wanted = right[:, -1:]
            reached = [np.argmax(right >= (point - 1e-12) * wanted, axis=1) for point in POINTS]
            points = np.stack([best[np.arange(len(best)), place] for place in reached])
            found.append(np.where(wanted[:, 0] > 0, points.mean(0), np.nan))  # a class that no drawn image shows
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * np.nanmean(found, axis=0))


def names_sha256(names: Iterable[str]) -> str:
    """By which two lists of names are known to be the same."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Where each image stands in the ranking of each class (n, classes), the highest of `scores` first."""
    return np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0, kind="stable")


def save(path: Path, outcomes: PerImage) -> Path:
    """Write them, a bit an image and metric, and the labels in as few bytes as hold them; atomically."""
    arrays: dict[str, np.ndarray] = {NAMES: np.array(outcomes.names), COUNT: np.array(len(outcomes))}
    arrays |= {f"{HITS}{metric}": np.packbits(hits) for metric, hits in outcomes.hits.items()}
    for name, values in ((LABELS, outcomes.labels), (RANKS, outcomes.ranks), (MARKS, outcomes.marks)):
        if values is not None:
            kind = np.int8 if name == MARKS else np.min_scalar_type(int(values.max(initial=0)))
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
            count = int(file[COUNT])
            hits = {key.removeprefix(HITS): _unpacked(file[key], count) for key in file.files if key.startswith(HITS)}
            labels, ranks, marks = (file[name] if name in file.files else None for name in (LABELS, RANKS, MARKS))
            found = PerImage(str(file[NAMES]), hits, labels, ranks, marks)
        parts = [part for part in (labels, ranks, marks) if part is not None]
        if (ranks is None) != (marks is None) or any(len(part) != count for part in parts) or count != len(found):
            raise ValueError("its parts do not fit each other")
    except FAULTS as error:
        raise UserError(f"{path} cannot be read as outcomes of images ({error}): run that evaluation again.") from error
    return found


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
    found = {f"top{k}": hits(scores, labels, k).numpy() for k in reported(scores.shape[1])}
    return of_labels(names, found, labels.numpy())


def of_marks(names: Iterable[str], scores: np.ndarray, marks: np.ndarray) -> PerImage:
    """Of images that show several classes. Args: scores and marks (n, classes)."""
    return PerImage(names_sha256(names), ranks=ranks_of(scores), marks=marks)
