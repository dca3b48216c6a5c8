"""Average precision of images ranked for a class, by the three rules of the field, and its mean over classes.

`weighted` is the same of images that count several times or not at all, as the draws of a bootstrap have them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

POINTS = np.arange(11) / 10  # of recall, until VOC 2009


def curve(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision after each distinct score, from the highest; images of one score come together.

    Args: scores (n,); present (n,) bool, at least one of them true.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(present[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return found[last] / present.sum(), found[last] / (last + 1)


def area(scores: np.ndarray, present: np.ndarray) -> float:
    """The area below the precision that is made to fall with recall: VOC's rule from 2010 on."""
    recall, precision = curve(scores, present)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * falling).sum())


def eleven_points(scores: np.ndarray, present: np.ndarray) -> float:
    """The mean of the highest precision at recalls of at least 0, 0.1, ..., 1: VOC's rule of 2007."""
    recall, precision = curve(scores, present)
    # a recall of 3 in 10 is the point 0.3, whichever way the two were rounded
    reached = [precision[recall >= point - 1e-12] for point in POINTS]
    return float(np.mean([part.max() if len(part) else 0.0 for part in reached]))


def steps(scores: np.ndarray, present: np.ndarray) -> float:
    """The sum of the precisions as they are, each times the recall that it adds: scikit-learn's rule."""
    recall, precision = curve(scores, present)
    return float((np.diff(recall, prepend=0) * precision).sum())


RULES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mAP area": area,
    "mAP 11-point": eleven_points,
    "mAP steps": steps,
}


def of_classes(
    scores: np.ndarray, marks: np.ndarray, rule: Callable[[np.ndarray, np.ndarray], float] = area
) -> np.ndarray:
    """Average precision of each class in percent (classes,).

    Args: scores (n, classes); marks (n, classes), of which -1 leaves an image out for that class, as VOC's devkit does
        with difficult ones, and each class has a 1; rule, one of the above.
    """
    known = marks >= 0
    columns = range(marks.shape[1])
    return np.array([100 * rule(scores[known[:, one], one], marks[known[:, one], one] == 1) for one in columns])


def means(scores: np.ndarray, marks: np.ndarray) -> dict[str, float]:
    """The mean over classes in percent by each of RULES, scores and marks as of `of_classes`."""
    return {name: float(of_classes(scores, marks, rule).mean()) for name, rule in RULES.items()}


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Where each image stands in the ranking of each class (n, classes), 0 for the highest.

    Equal scores stand together. A score that is no number stands last, as in `curve`.
    """
    places = [np.unique(-column, return_inverse=True)[1] for column in scores.T]
    return np.stack([place.reshape(-1) for place in places], axis=1)


def weighted(ranks: np.ndarray, marks: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The mean over classes in percent (r,) by each of RULES, of images that count weights[:, i] times.

    Args: ranks (n, classes), as of `ranks_of`; marks (n, classes), as of `of_classes`; weights (r, n), whole numbers. A
        class that no image of a draw shows does not count in its mean.
    """
    times = np.ascontiguousarray(weights.T)  # whose rows are taken much faster than columns
    columns = [_of_class(*column, times) for column in zip(ranks.T, marks.T, strict=True)]
    return {name: 100 * mean_of_known(np.stack([each[name] for each in columns])) for name in RULES}


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean of (k, r) over k without those that are no numbers (r,); NaN where there is none."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(0) / known.sum(0))


def _of_class(ranks: np.ndarray, marks: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision of one class (r,) by each rule, NaN where no image of the draw shows it; times (n, r).

    Between two images that show the class precision only falls, so that it is asked for where they stand alone.
    """
    order = np.argsort(ranks, kind="stable")
    order = order[marks[order] >= 0]
    last = np.append(np.flatnonzero(np.diff(ranks[order])), len(order) - 1)  # of each group of equal scores
    shows = np.flatnonzero(marks[order] == 1)
    ends, first = np.unique(last[np.searchsorted(last, shows)], return_index=True)
    if not len(ends):
        return dict.fromkeys(RULES, np.full(times.shape[1], np.nan))
    taken = times[order[: ends[-1] + 1]]
    seen = np.add.reduceat(taken, np.append(0, ends[:-1] + 1)).cumsum(0, dtype=np.float64)
    right = np.add.reduceat(taken[shows], first).cumsum(0, dtype=np.float64)
    precision, wanted = right / np.maximum(seen, 1), right[-1]
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        gained = np.diff(right, axis=0, prepend=0) / wanted
    reached = [np.argmax(right >= (point - 1e-12) * wanted, axis=0) for point in POINTS]
    points = np.mean([falling[place, np.arange(falling.shape[1])] for place in reached], axis=0)
    return {
        "mAP area": (gained * falling).sum(0),
        "mAP 11-point": np.where(wanted > 0, points, np.nan),
        "mAP steps": (gained * precision).sum(0),
    }
