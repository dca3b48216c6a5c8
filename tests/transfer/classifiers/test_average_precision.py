"""transfer.classifiers.average_precision, against VOC's rules written out and scikit-learn's function."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from helpers import devkit
from transfer.classifiers import average_precision


def case(seed, images=40, classes=3):
    """Scores that all differ, and marks of which some are difficult; every class is there at least once."""
    draw = np.random.default_rng(seed)
    marks = draw.choice([1, 0, -1], size=(images, classes), p=[0.3, 0.5, 0.2]).astype(np.int8)
    marks[0] = 1
    return draw.permuted(np.arange(images)[:, None].repeat(classes, 1), axis=0) / 7 - 2.0, marks


@pytest.mark.parametrize("seed", range(20))
def test_area_and_eleven_points_are_the_devkits_rules_without_difficult_images(seed):
    scores, marks = case(seed, images=5 + 3 * seed)
    columns = [(scores[:, one], marks[:, one]) for one in range(marks.shape[1])]
    areas = [100 * devkit.ap_2010(*column) for column in columns]
    assert average_precision.of_classes(scores, marks) == pytest.approx(areas)
    means = average_precision.means(scores, marks)
    assert means["mAP area"] == pytest.approx(np.mean(areas))
    assert means["mAP 11-point"] == pytest.approx(100 * np.mean([devkit.ap_2007(*column) for column in columns]))


@pytest.mark.parametrize("seed", range(10))
def test_steps_are_scikit_learns_average_precision_also_where_scores_are_equal(seed):
    draw = np.random.default_rng(seed)
    scores, present = draw.integers(0, 6, 50) / 2, draw.random(50) < 0.3
    present[7] = True
    assert average_precision.steps(scores, present) == pytest.approx(average_precision_score(present, scores))


def test_recalls_of_tenths_count_as_reached():
    """3 found of 10 is the point 0.3, although 3 / 10 and 0.3 may be rounded apart."""
    present = np.zeros(30, dtype=bool)
    present[::3] = True
    scores = -np.arange(30.0)
    best = [1.0, *[k / (3 * k - 2) for k in range(1, 11)]]  # the k-th is found at place 3k - 2
    assert average_precision.eleven_points(scores, present) == pytest.approx(np.mean(best))
