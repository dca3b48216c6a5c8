"""Curves and classes of an evaluation: what pycocotools accumulates, for predictions whose AP is known by hand."""

import numpy as np
import pytest

pytest.importorskip("detectron2")

from transfer.detection.evaluation.pr_curves import mean_curves


def test_the_mean_of_the_curve_over_recalls_is_the_ap_that_coco_reports():
    """COCO's AP is the mean of precision over 101 recalls; sampled at every fifth it stays within one sample of it."""
    recalls = np.linspace(0, 1, 101)
    precision = np.full((10, 101, 3, 4, 3), -1.0)
    for kind, share in ((0, 1.0), (1, 0.5)):  # class 2 does not occur
        precision[:, :, kind] = np.where(recalls <= share, 1.0, 0.0)[None, :, None, None]
    curves = mean_curves(precision, recalls)
    assert curves["recall"][0] == 0 and curves["recall"][-1] == 100 and len(curves["recall"]) == 21
    exact = 100 * precision[0, :, :2, 0, -1].mean()
    assert np.mean(curves["0.50"]) == pytest.approx(exact, abs=100 / 21)
    assert curves["0.50"][0] == 100 and curves["0.50"][-1] == 50 == curves["0.75"][-1]
