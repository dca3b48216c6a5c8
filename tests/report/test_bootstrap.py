"""Intervals of a difference: over images as the normal theory of paired shares has them, over seeds as Welch's test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from helpers.report_samples import a_result
from transfer import per_image
from transfer.classifiers import average_precision
from transfer.report.collect import bootstrap
from transfer.report.collect.files import read_result


def result_with(folder, name, hits, labels=None, images=None):
    """A result whose images have these outcomes."""
    names = [f"{at}" for at in range(len(hits))] if images is None else images
    labels = np.zeros(len(hits), int) if labels is None else labels
    per_image.save(folder / f"{name}-images.npz", per_image.of_labels(names, {"top1": np.asarray(hits)}, labels))
    artefacts = {"images": [], "per_image": f"{name}-images.npz"}
    return read_result(a_result(folder / f"{name}.json", 100 * np.mean(hits), "pretrained", artefacts=artefacts)).result


def paired(images, both, first, second):
    """Outcomes of two networks: so many images are right in both, in the first alone, in the second alone."""
    hits = np.zeros((2, images), bool)
    hits[:, :both] = True
    hits[0, both : both + first] = True
    hits[1, both + first : both + first + second] = True
    return hits


def test_the_interval_over_images_is_that_of_paired_shares(tmp_path):
    hits = paired(1000, both=500, first=60, second=40)
    one, other = (result_with(tmp_path, name, hit) for name, hit in zip("ab", hits, strict=True))
    found = bootstrap.over_images([one], [other], "top1")
    difference = (hits[0].astype(float) - hits[1]) * 100
    half = stats.norm.ppf(0.975) * difference.std() / np.sqrt(1000)
    assert found.low == pytest.approx(difference.mean() - half, abs=0.15)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.15)
    assert found.apart and found.of == "1,000 images"  # as McNemar's test, whose p is 0.046
    alone = stats.norm.ppf(0.975) * np.hypot(hits[0].std(), hits[1].std()) * 100 / np.sqrt(1000)
    assert half < 0.5 * alone  # what pairing is worth


def test_images_that_are_not_the_same_are_not_paired(tmp_path):
    hits = paired(50, 20, 5, 5)
    one, other = (result_with(tmp_path, name, hit) for name, hit in zip("ab", hits, strict=True))
    strangers = result_with(tmp_path, "c", hits[0], images=[f"x{at}" for at in range(50)])
    without = read_result(a_result(tmp_path / "d.json", 40.0, "random")).result
    assert bootstrap.over_images([one], [other], "top1") is not None
    assert bootstrap.over_images([one], [strangers], "top1") is None
    assert bootstrap.over_images([one], [without], "top1") is None
    assert bootstrap.over_images([one], [other], "top5") is None


def test_outcomes_that_are_written_anew_are_read_anew(tmp_path):
    hits = paired(1000, both=400, first=300, second=0)
    one, other = (result_with(tmp_path, name, hit) for name, hit in zip("ab", hits, strict=True))
    assert bootstrap.over_images([one], [other], "top1").low > 20
    one, other = (result_with(tmp_path, name, hit) for name, hit in zip("ab", hits[::-1], strict=True))
    assert bootstrap.over_images([one], [other], "top1").high < -20


def test_the_mean_per_class_is_drawn_as_such(tmp_path):
    """A class of five images spreads the mean over classes far more than the mean over images."""
    labels = np.array([0] * 495 + [1] * 5)
    hits = paired(500, 250, 10, 10)
    hits[:, 495:] = [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    one, other = (result_with(tmp_path, name, hit, labels) for name, hit in zip("ab", hits, strict=True))
    of_images, of_classes = (bootstrap.over_images([one], [other], metric) for metric in ("top1", "mean per class"))
    assert of_classes.high - of_classes.low > 5 * (of_images.high - of_images.low)


def ranked_result(folder, name, scores, marks):
    """A result of images that show several classes, by these scores."""
    kept = per_image.of_marks(map(str, range(len(marks))), scores, marks)
    per_image.save(folder / f"{name}-images.npz", kept)
    artefacts = {"images": [], "per_image": f"{name}-images.npz"}
    known = {"task": "multilabel", "metrics": average_precision.means(scores, marks), "artefacts": artefacts}
    return read_result(a_result(folder / f"{name}.json", None, "pretrained", **known)).result


def ap(scores, marks, times):
    """Average precision in percent of images that stand in a list so many times each, image by image in float64."""
    found, seen, total = 0.0, 0.0, 0.0
    for at in sorted(range(len(scores)), key=lambda at: -scores[at]):
        found, seen = found + times[at] * marks[at], seen + times[at]
        total += times[at] * marks[at] * found / max(seen, 1)
    return 100 * total / found


def test_the_interval_of_map_is_that_of_images_drawn_by_hand(tmp_path):
    """Each draw judged anew for both networks; apart from that the draws are others than the report's."""
    draw = np.random.default_rng(3)
    marks = (draw.random((60, 2)) < 0.4).astype(np.int8)
    shared = marks + draw.normal(0, 1, (60, 2))
    sides = [shared + draw.normal(0, noise, (60, 2)) for noise in (0.1, 1.0)]
    assert ap(sides[1][:, 0], marks[:, 0], [1] * 60) == pytest.approx(
        100 * average_precision_score(marks[:, 0], sides[1][:, 0])
    )
    one, other = (ranked_result(tmp_path, name, side, marks) for name, side in zip("ab", sides, strict=True))
    found = bootstrap.over_images([one], [other], "mAP steps")
    again, maps = np.random.default_rng(99), []
    for _ in range(3000):
        times = np.bincount(again.integers(0, 60, 60), minlength=60)
        maps.append([np.mean([ap(side[:, c], marks[:, c], times) for c in range(2)]) for side in sides])
    first, second = np.array(maps).T
    low, high = np.percentile(first - second, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.08 * (high - low))
    assert found.high == pytest.approx(high, abs=0.08 * (high - low))
    apart = np.ptp(np.percentile(first - again.permutation(second), [2.5, 97.5]))  # draws of their own
    assert found.of == "60 images" and found.high - found.low < 0.9 * apart


def test_other_truths_are_not_paired(tmp_path):
    """As where splits.least left other classes out."""
    draw = np.random.default_rng(0)
    marks, scores = (draw.random((30, 2)) < 0.4).astype(np.int8), draw.random((30, 2))
    changed = marks.copy()
    changed[0, 0] = 1 - changed[0, 0]
    one, same, other = (
        ranked_result(tmp_path, n, scores, m) for n, m in zip("abc", (marks, marks, changed), strict=True)
    )
    assert bootstrap.over_images([one], [same], "mAP area") is not None
    assert bootstrap.over_images([one], [other], "mAP area") is None


@pytest.mark.parametrize("count", [2, 3, 10])
def test_over_seeds_an_interval_misses_no_difference_about_as_often_as_it_says(count):
    """Drawn from one normal distribution, 5 in 100 intervals should leave 0 out; a plain bootstrap of 3 leaves 10."""
    draw = np.random.default_rng(count)
    apart = [bootstrap.over_seeds(*draw.normal(0, 1, (2, count))).apart for _ in range(150)]
    assert np.mean(apart) < 0.1


@pytest.mark.parametrize("count", [3, 5, 20])
def test_over_seeds_the_interval_is_about_as_wide_as_welchs(count):
    draw = np.random.default_rng(count)
    one, other = draw.normal(1, 1, count), draw.normal(0, 1, count)
    found = bootstrap.over_seeds(one, other)
    welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (found.high - found.low) == pytest.approx(welch.high - welch.low, rel=0.25)


def test_students_points_are_scipys():
    freedom = np.arange(1, len(bootstrap.STUDENT) + 1)
    assert np.allclose(bootstrap.STUDENT, stats.t.ppf(0.975, freedom), atol=6e-4)
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-6) == bootstrap.NORMAL


def test_a_single_seed_says_nothing_about_seeds():
    assert bootstrap.over_seeds([1.0], [2.0, 3.0]) is None
