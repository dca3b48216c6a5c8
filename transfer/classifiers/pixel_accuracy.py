"""How well the pixels of images are told apart: of each image the pixels of each class, and the three means of them."""

from __future__ import annotations

import numpy as np

from transfer.classifiers.average_precision import mean_of_known

RIGHT, THERE, GIVEN = range(3)  # columns of a tally
METRICS = ("mIoU", "mACC", "pACC")


def tally(given: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes, 3) of one image: pixels of each class that are given it, that have it, and those that are given it.

    Args: given and labels, of the same shape, class indices; pixels whose label is no class are left out; classes,
        their number.
    """
    known = labels < classes
    given, truth = given[known], labels[known]
    columns = (truth[given == truth], truth, given)
    return np.stack([np.bincount(column, minlength=classes) for column in columns], axis=1)


def ratios(tallies: np.ndarray) -> np.ndarray:
    """Intersection over union and accuracy of each class, (..., classes, 2) in percent; NaN where no pixel has it."""
    right, there, given = (tallies[..., column].astype(np.float64) for column in (RIGHT, THERE, GIVEN))
    there = np.where(there > 0, there, np.nan)
    return 100 * np.stack([right / (there + given - right), right / there], axis=-1)


def means(tallies: np.ndarray) -> dict[str, np.ndarray]:
    """By each of METRICS, as detectron2 tells them, in percent (r,) of tallies (r, classes, 3), sums over images."""
    each = ratios(tallies)
    over, accuracy = (mean_of_known(each[..., at].T) for at in (0, 1))
    right, there = (tallies[..., column].sum(1).astype(np.float64) for column in (RIGHT, THERE))
    with np.errstate(invalid="ignore", divide="ignore"):
        return dict(zip(METRICS, (over, accuracy, 100 * right / there), strict=True))
