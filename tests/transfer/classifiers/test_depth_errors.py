"""transfer.classifiers.depth_errors, against a loop over pixels and the crop as it is published for 480 x 640."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transfer.classifiers import depth_errors


def listed(given, truth):
    """Each metric by the formulas of Eigen et al. (2014), pixel by pixel."""
    height, width = len(truth), len(truth[0])
    top, bottom = (round(place * height / 480) for place in (45, 471))
    left, right = (round(place * width / 640) for place in (41, 601))
    pairs = []
    for row in range(height):
        for column in range(width):
            wanted = truth[row][column]
            inside = top <= row < bottom and left <= column < right
            if inside and 0.001 < wanted < 10:
                pairs.append((min(max(given[row][column], 0.001), 10), wanted))
    count = len(pairs)
    found = {f"delta{k}": 100 * sum(max(d / w, w / d) < 1.25**k for d, w in pairs) / count for k in (1, 2, 3)}
    found["RMSE"] = math.sqrt(sum((d - w) ** 2 for d, w in pairs) / count)
    found["AbsRel"] = sum(abs(d - w) / w for d, w in pairs) / count
    found["log10"] = sum(abs(math.log10(d) - math.log10(w)) for d, w in pairs) / count
    return found


@pytest.mark.parametrize("shape", [(480, 640), (96, 128)])
def test_every_metric_is_that_of_a_loop_over_the_judged_pixels(shape):
    """With unknown depths, some beyond 10 m, and predictions that are negative or too far."""
    draw = np.random.default_rng(0)
    truth = draw.uniform(0.5, 11, shape).astype(np.float32)
    truth[draw.random(shape) < 0.2] = 0
    given = truth * draw.uniform(0.4, 2.2, shape) + draw.normal(0, 1, shape)
    given[0:60, 0:60], given[70:80, 70:80] = -3, 40
    assert depth_errors.errors(given, truth) == pytest.approx(listed(given.tolist(), truth.tolist()))
    assert tuple(depth_errors.errors(given, truth)) == depth_errors.METRICS


def test_the_crop_is_the_published_one():
    rows, columns = np.nonzero(depth_errors.judged(np.full((480, 640), 2.0)))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (45, 471, 41, 601)


def test_an_image_without_a_judged_pixel_has_no_numbers():
    found = depth_errors.errors(np.ones((48, 64)), np.zeros((48, 64)))
    assert all(math.isnan(value) for value in found.values())
