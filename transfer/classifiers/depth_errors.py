"""Errors of the predicted depth of an image after Eigen et al. (2014): in Eigen's crop, between 1 mm and 10 m."""

from __future__ import annotations

import numpy as np

NEAREST, FARTHEST = 1e-3, 10.0  # metres
ROWS, COLUMNS = (0.09375, 0.98125), (0.0640625, 0.9390625)  # 45 to 471 of 480, 41 to 601 of 640
ROOT_MEAN_SQUARE, RELATIVE, LOGARITHMIC = "RMSE", "AbsRel", "log10"
NEAR = {"delta1": 1.25, "delta2": 1.25**2, "delta3": 1.25**3}
METRICS = (*NEAR, ROOT_MEAN_SQUARE, RELATIVE, LOGARITHMIC)


def judged(truth: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of a depth image in metres whose depth is known, in range, and inside Eigen's crop."""
    height, width = truth.shape
    inside = np.zeros(truth.shape, bool)
    top, bottom = (round(share * height) for share in ROWS)
    left, right = (round(share * width) for share in COLUMNS)
    inside[top:bottom, left:right] = True
    return inside & (truth > NEAREST) & (truth < FARTHEST)


def errors(given: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Each of METRICS for one image, in percent, metres and without a unit; NaN where no pixel is judged.

    Args: given, truth (H, W) in metres. What is given counts as no nearer than NEAREST and no farther than FARTHEST.
    """
    known = judged(truth)
    if not known.any():
        return dict.fromkeys(METRICS, float("nan"))
    depth, wanted = np.clip(given[known], NEAREST, FARTHEST).astype(np.float64), truth[known].astype(np.float64)
    ratio = np.maximum(depth / wanted, wanted / depth)
    found = {name: float(100 * (ratio < most).mean()) for name, most in NEAR.items()}
    found[ROOT_MEAN_SQUARE] = float(np.sqrt(np.square(depth - wanted).mean()))
    found[RELATIVE] = float((np.abs(depth - wanted) / wanted).mean())
    found[LOGARITHMIC] = float(np.abs(np.log10(depth) - np.log10(wanted)).mean())
    return found
