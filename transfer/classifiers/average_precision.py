"""Average precision of images ranked for a class, by the three rules of the field, and its mean over classes."""

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
