"""Outcomes of images beside a result: written small, read back, and weighed as a naive count weighs them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.devkit import ap_2007
from pretrain.runtime.errors import UserError
from transfer.classifiers import average_precision, pixel_accuracy
from transfer.per_image import PerImage, load, of_labels, of_marks, of_means, of_pixels, save


def a_few(images=37):
    draw = np.random.default_rng(0)
    hits = {name: draw.random(images) < share for name, share in (("top1", 0.5), ("top5", 0.9))}
    return of_labels([f"{at}" for at in range(images)], hits, draw.integers(0, 5, images))


def test_what_is_written_is_read_back_and_is_small(tmp_path):
    many = a_few(10_000)
    path = save(tmp_path / "r-images.npz", many)
    found = load(path)
    assert found.names == many.names and np.array_equal(found.labels, many.labels)
    assert all(np.array_equal(found.hits[name], hits) for name, hits in many.hits.items())
    assert path.stat().st_size < 10_000  # a byte an image, for two metrics and labels of any order
    assert found.metrics == ("top1", "top5", "mean per class")


def test_repeated_images_count_as_often_as_they_are_drawn():
    """Against a list in which each image stands as often as its weight says."""
    few, draw = a_few(), np.random.default_rng(1)
    weights = draw.integers(0, 3, (4, 37))
    for row, top1, balanced in zip(
        weights, few.values("top1", weights), few.values("mean per class", weights), strict=True
    ):
        listed = np.repeat(np.arange(37), row)
        hit, labels = few.hits["top1"][listed], few.labels[listed]
        assert top1 == pytest.approx(100 * hit.mean())
        assert balanced == pytest.approx(100 * np.mean([hit[labels == one].mean() for one in np.unique(labels)]))


def test_rankings_are_weighed_as_the_devkit_judges_repeated_images(tmp_path):
    draw = np.random.default_rng(2)
    scores, marks = draw.random((30, 3)), draw.integers(-1, 2, (30, 3))
    kept = load(save(tmp_path / "m.npz", of_marks(map(str, range(30)), scores, marks)))
    once = np.ones((1, 30))
    expected = np.mean([100 * ap_2007(scores[:, one], marks[:, one]) for one in range(3)])
    assert kept.values("mAP 11-point", once)[0] == pytest.approx(expected)
    weights = draw.integers(0, 3, (2, 30))
    for row, value in zip(weights, kept.values("mAP 11-point", weights), strict=True):
        found = []
        for one in range(3):
            order = [at for at in np.argsort(-scores[:, one]) if marks[at, one] >= 0]
            seen = right = 0
            points = []
            wanted = sum(row[at] for at in order if marks[at, one] == 1)
            for at in order:  # images of one score come together, however often they were drawn
                seen, right = seen + row[at], right + row[at] * (marks[at, one] == 1)
                points.append((right / wanted, right / seen if seen else 0.0))
            tops = [max((p for r, p in points if r * 10 >= tenth - 1e-9), default=0.0) for tenth in range(11)]
            found.append(100 * np.mean(tops))
        assert value == pytest.approx(np.mean(found))


@pytest.mark.parametrize("damage", ["cut", "other", "absent", "short"])
def test_a_damaged_file_is_told_in_one_sentence(damage, tmp_path):
    path = tmp_path / "r-images.npz"
    if damage != "absent":
        save(path, a_few())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:80])
    elif damage == "other":
        path.write_text("no archive")
    elif damage == "short":
        few = a_few()
        save(path, PerImage(few.names, few.hits, few.labels[:5]))
    with pytest.raises(UserError, match="cannot be read as outcomes of images"):
        load(path)


def listed_map(scores, marks, row):
    """By rule the mean over classes of a list in which image i stands row[i] times; images of one score come together.

    A loop over thresholds in float64, the highest score first.
    """
    found = {"mAP area": [], "mAP 11-point": [], "mAP steps": []}
    for one in range(scores.shape[1]):
        drawn = [
            (scores[at, one], marks[at, one]) for at in range(len(row)) for _ in range(row[at]) if marks[at, one] >= 0
        ]
        wanted = sum(mark for _, mark in drawn)
        if not wanted:
            continue  # no image of the draw shows the class
        points = []
        for least in sorted({score for score, _ in drawn}, reverse=True):
            taken = [mark for score, mark in drawn if score >= least]
            points.append((sum(taken) / wanted, sum(taken) / len(taken)))
        gains = [recall - before for (recall, _), before in zip(points, [0.0, *(r for r, _ in points)], strict=False)]
        best = [max(precision for _, precision in points[place:]) for place in range(len(points))]
        tops = [max((p for r, p in points if r * 10 >= tenth - 1e-9), default=0.0) for tenth in range(11)]
        found["mAP steps"].append(sum(gain * p for gain, (_, p) in zip(gains, points, strict=True)))
        found["mAP area"].append(sum(gain * p for gain, p in zip(gains, best, strict=True)))
        found["mAP 11-point"].append(sum(tops) / 11)
    return {name: 100 * np.mean(values) for name, values in found.items()}


@pytest.mark.parametrize("seed", range(12))
def test_each_rule_of_ap_is_that_of_a_list_with_every_image_as_often_as_it_is_drawn(seed, tmp_path):
    """With scores that are equal, difficult images, and classes that a draw may lose."""
    draw = np.random.default_rng(seed)
    images = int(draw.integers(4, 30))
    scores, marks = draw.integers(0, 8, (images, 3)) / 4 - 1, draw.integers(-1, 2, (images, 3))
    marks[0] = 1
    kept = load(save(tmp_path / "m.npz", of_marks(map(str, range(images)), scores, marks, "all images ")))
    weights = np.concatenate([np.ones((1, images), int), draw.integers(0, 3, (6, images))])
    weights[-1] = 0
    weights[-1, 0] = 2
    expected = [listed_map(scores, marks, row) for row in weights]
    for rule in average_precision.RULES:
        found = kept.values(f"all images {rule}", weights.astype(np.float32))
        assert found == pytest.approx([one[rule] for one in expected])
    assert kept.metrics == tuple(f"all images {rule}" for rule in average_precision.RULES)
    once = average_precision.means(scores, marks)
    assert {rule: kept.values(f"all images {rule}", weights[:1])[0] for rule in once} == pytest.approx(once)


def test_pixels_are_weighed_as_those_of_a_list_of_images(tmp_path):
    """mIoU, mean and pixel accuracy by counting the pixels of every image as often as it is drawn."""
    draw = np.random.default_rng(0)
    truth, given = draw.integers(0, 5, (9, 6, 6)), draw.integers(0, 4, (9, 6, 6))
    truth[truth == 4] = 255  # of no class
    truth[3][truth[3] == 2] = 0
    tallies = np.stack([pixel_accuracy.tally(*pair, 4) for pair in zip(given, truth, strict=True)])
    kept = load(save(tmp_path / "d.npz", of_pixels(map(str, range(9)), tallies)))
    weights = draw.integers(0, 3, (5, 9))
    weights[0] = 0
    weights[0, 3] = 1  # class 2 is not there
    for place, row in enumerate(weights):
        pixels = [
            (g, t)
            for at in np.repeat(np.arange(9), row)
            for g, t in zip(given[at].flat, truth[at].flat, strict=True)
            if t < 4
        ]
        over, right = [], []
        for one in {t for _, t in pixels}:
            both = sum(g == t == one for g, t in pixels)
            over.append(both / sum(one in pair for pair in pixels))
            right.append(both / sum(t == one for _, t in pixels))
        expected = {"mIoU": np.mean(over), "mACC": np.mean(right), "pACC": np.mean([g == t for g, t in pixels])}
        found = {name: kept.values(name, weights.astype(np.float32))[place] / 100 for name in kept.metrics}
        assert found == pytest.approx(expected)


def test_means_are_over_the_images_that_count(tmp_path):
    values = {"A top1": np.array([100.0, np.nan, 0.0, 100.0]), "C fog, top1": np.array([np.nan, 40.0, np.nan, np.nan])}
    kept = load(save(tmp_path / "v.npz", of_means("abcd", values)))
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 0], [0, 3, 0, 0]])
    assert kept.values("A top1", weights)[:2] == pytest.approx([200 / 3, 200 / 3])
    assert np.isnan(kept.values("A top1", weights)[2])
    assert kept.values("C fog, top1", weights)[[0, 2]] == pytest.approx([40, 40])
    assert (kept.count("A top1"), kept.count("C fog, top1"), len(kept)) == (3, 1, 4)


def test_rankings_of_many_images_stay_small(tmp_path):
    """Two bytes an image and class for the ranking, and hardly any for the marks."""
    draw = np.random.default_rng(0)
    marks = (draw.random((5000, 20)) < 0.05).astype(np.int8)
    path = save(tmp_path / "m.npz", of_marks(map(str, range(5000)), draw.random((5000, 20)), marks))
    assert path.stat().st_size < 2.5 * 5000 * 20
