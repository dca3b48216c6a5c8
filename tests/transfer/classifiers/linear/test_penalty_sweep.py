"""The linear protocol of transfer against scikit-learn, which fits the same objective by other code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from helpers.devkit import ap_2007
from transfer.classifiers.accuracy import mean_per_class
from transfer.classifiers.linear import penalty_sweep
from transfer.classifiers.linear.logistic_regression import Design, objective
from transfer.classifiers.linear.penalty_sweep import Sweep, spaced, sweep_and_score
from transfer.datasets.labelled import Labelled
from transfer.features.rows import Features

CPU, CLASSES = torch.device("cpu"), 4
SWEEP = Sweep(spaced(1e5, 1e-6, 45), False, 0.2, 0)


class Source:
    """Names of images, and classes."""

    root = "drawn"

    def __init__(self, count, classes):
        self.count, self.classes = count, classes

    def __len__(self):
        return self.count

    def key(self, at):
        return f"{at:04}"


def drawn(count, seed, width=12):
    """Overlapping classes of unequal sizes, with correlated columns of unequal lengths."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(9))
    labels = torch.multinomial(torch.tensor([4.0, 3, 2, 1]), count, True, generator=generator)
    rows = 0.7 * centres[labels] + torch.randn(count, width, generator=generator)
    rows[:, 1] += 3 * rows[:, 0]
    rows = rows * torch.linspace(0.1, 4, width) + 5
    return Features(rows, labels, tuple(f"{at:04}" for at in range(count)), (), 0.0)


def data(chosen_on, metric="top1", count=240, classes=CLASSES, marks=None):
    sources = Source(count, tuple(map(str, range(classes)))), Source(count, tuple(map(str, range(classes))))
    return Labelled("drawn", *sources, marks, metric=metric, chosen_on=chosen_on)


def by_sklearn(train, labels, judged, penalty):
    """Class scores of scikit-learn's minimum."""
    fitted = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8).fit(
        train.double().numpy(), labels.numpy()
    )
    return fitted.decision_function(judged.double().numpy())


@pytest.mark.parametrize("metric", ["top1", "mean per class"])
def test_penalty_and_accuracy_are_those_of_scikit_learn(metric):
    train, val = drawn(240, 1), drawn(240, 2)
    chosen_on = tuple(range(0, 240, 3))
    swept = sweep_and_score(train, val, data(chosen_on, metric), SWEEP, CPU)
    mask = np.zeros(240, bool)
    mask[list(chosen_on)] = True

    def accuracy(scores, labels):
        right = scores.argmax(1) == labels.numpy()
        return 100 * (right.mean() if metric == "top1" else balanced_accuracy_score(labels, scores.argmax(1)))

    parts = train.rows[~mask], train.labels[~mask], train.rows[mask]
    for penalty in spaced(1e5, 1e-6, 45)[::11]:
        expected = accuracy(by_sklearn(*parts, penalty), train.labels[mask])
        assert swept.details["held_out"][f"{penalty:g}"] == pytest.approx(expected, abs=100 / 80 / 2)
    penalty = swept.details["penalty"]
    assert swept.details["held_out"][f"{penalty:g}"] == max(swept.details["held_out"].values())
    scores = by_sklearn(train.rows, train.labels, val.rows, penalty)
    assert swept.metrics[metric] == pytest.approx(accuracy(scores, val.labels), abs=0.1)
    ours = swept.scores - swept.scores.mean(1, keepdims=True)
    assert np.allclose(ours, scores - scores.mean(1, keepdims=True), atol=5e-3)
    assert list(swept.metrics)[0] == metric and len(swept.details["held_out"]) == 45


def test_several_classes_an_image_are_fitted_one_against_the_rest():
    """By scikit-learn's binary regressions and the devkit's rule; difficult ones are in no fit and no ranking."""
    train, val = drawn(240, 3), drawn(240, 4)
    draw = np.random.default_rng(0)
    marks = tuple(
        np.where(draw.random((240, 2)) < 0.1, -1, (part.rows[:, :2].numpy() @ [[1, 0], [0.3, 1]] > [6.4, 8.2])).astype(
            np.int8
        )
        for part in (train, val)
    )
    several = data(tuple(range(0, 240, 2)), "mAP 11-point", classes=2, marks=marks)
    swept = sweep_and_score(train, val, several, Sweep(spaced(10, 1e-2, 4), False, 0.2, 0), CPU)
    precisions = []
    for column in range(2):
        known = marks[0][:, column] >= 0
        # the penalty stands beside a mean of losses over the images that are judged, times the images
        penalty = swept.details["penalty"] * known.sum() / 240
        scores = by_sklearn(train.rows[known], torch.from_numpy(marks[0][known, column]), val.rows, penalty)
        precisions.append(100 * ap_2007(scores, marks[1][:, column]))
        assert np.corrcoef(scores, swept.scores[:, column])[0, 1] > 0.9999
    assert swept.metrics["mAP 11-point"] == pytest.approx(np.mean(precisions), abs=0.1)
    kept = swept.per_image(val.names)
    assert kept.values("mAP 11-point", np.ones((1, 240)))[0] == pytest.approx(swept.metrics["mAP 11-point"])


def test_unreadable_images_leave_the_published_split_as_it_is():
    train = drawn(240, 1)
    kept = [at for at in range(240) if at % 7]
    part = Features(train.rows[kept], train.labels[kept], tuple(train.names[at] for at in kept), (), 0.0)
    mask = penalty_sweep.validation(part.names, part.labels, data((0, 1, 2, 7, 8)), 0.2, 0)
    assert [part.names[at] for at in np.flatnonzero(mask)] == ["0001", "0002", "0008"]


def test_where_no_split_is_published_a_share_of_each_class_is_held_out():
    train = drawn(240, 1)
    mask = penalty_sweep.validation(train.names, train.labels, data(None), 0.2, 0)
    for label in range(CLASSES):
        assert mask[train.labels == label].mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("scaled", [True, False])
def test_the_path_ends_where_single_fits_do(scaled):
    """Warm starts change where a fit begins, and not where it ends: to a thousandth of the way from the one before."""
    train = drawn(240, 5)
    design = Design(train.rows, train.labels, CLASSES, scaled)
    before = torch.zeros(len(train.rows), CLASSES)
    for decay, probe in design.path([1.0, 0.1, 0.01, 0.001], tolerance=1e-8):
        alone = design.fit(decay, tolerance=1e-8)
        scores = alone.scores(train.rows)
        assert (probe.scores(train.rows) - scores).abs().max() < 1e-3 * (scores - before).abs().max()
        assert alone.residual < 1e-6
        before = scores


def test_rivals_on_float32_rows_are_minima_to_the_rivals_tolerance():
    """By the gradient in float64, which the fit has not seen."""
    train = drawn(240, 5)
    design = Design(train.rows, train.labels, CLASSES, precision=torch.float32)
    for decay, probe in design.path([1.0, 0.1, 0.01, 0.001], tolerance=penalty_sweep.RIVAL):
        _, *gradients = objective(probe, train.rows, train.labels, decay)
        assert max(gradient.abs().max() for gradient in gradients) < 1.1 * penalty_sweep.RIVAL


def test_mean_per_class_is_scikit_learns_balanced_accuracy():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(90, 5, generator=generator), torch.randint(0, 5, (90,), generator=generator)
    assert mean_per_class(scores, labels) == pytest.approx(100 * balanced_accuracy_score(labels, scores.argmax(1)))
