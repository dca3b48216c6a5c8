"""Outcomes of images beside a result: written small, read back, and weighed as a naive count weighs them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.devkit import ap_2007
from pretrain.runtime.errors import UserError
from transfer.per_image import PerImage, load, of_labels, of_marks, save


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
