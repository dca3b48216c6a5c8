"""transfer.classifiers.linear.svm, against scikit-learn's own search and against the protocol written out."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from helpers import devkit
from transfer.classifiers.linear import svm

COSTS = (0.5, 8.0)


def case(images, seed, classes=3):
    """Unit rows and marks, a tenth of these difficult."""
    draw = np.random.default_rng(seed)
    rows = svm.unit(draw.normal(size=(images, 5)).astype(np.float32))
    marks = (rows[:, :classes] + draw.normal(0, 0.3, (images, classes)) > 0.1).astype(np.int8)
    marks[draw.random(marks.shape) < 0.1] = -1
    return rows, marks


def test_the_costs_are_the_18_that_were_published():
    assert svm.COSTS[:3] == (0.01, 0.1, 0.0625) and svm.COSTS[-1] == 0.5**19 and len(svm.COSTS) == 18


def test_rows_are_divided_by_their_length():
    rows = svm.unit(np.array([[3.0, 4.0]], dtype=np.float32))
    assert rows.dtype == np.float64 and rows == pytest.approx(np.array([[0.6, 0.8]]), rel=1e-5)


def test_machines_of_all_images_are_those_of_scikit_learns_search_over_three_folds():
    rows, marks = case(60, seed=0)
    machines, chosen = svm.of_all(rows, marks, COSTS, seed=0)
    for one, (machine, cost) in enumerate(zip(machines, chosen, strict=True)):
        wanted = np.where(marks[:, one] > 0, 1, -1)  # difficult images train as negatives, as published
        plain = LinearSVC(class_weight={1: 2, -1: 1}, loss="squared_hinge", dual=True, max_iter=2000, random_state=0)
        search = GridSearchCV(plain, {"C": COSTS}, scoring="average_precision", cv=3).fit(rows, wanted)
        assert cost == search.best_params_["C"]
        # both stop at LIBLINEAR's tolerance
        assert machine.decision_function(rows) == pytest.approx(search.decision_function(rows), abs=1e-3)


def test_a_draw_has_k_images_of_each_class_and_classes_minus_one_times_as_many_without():
    _, marks = case(60, seed=1)
    for one, images in enumerate(svm.drawn(marks, 2, np.random.default_rng(0))):
        assert len(set(images.tolist())) == 6
        assert sorted(marks[images, one].tolist()) == [0, 0, 0, 0, 1, 1]
    few_without = np.array([[1], [1], [1], [0], [-1]], dtype=np.int8).repeat(4, 1)
    assert all(sorted(images.tolist())[-1] == 3 for images in svm.drawn(few_without, 2, np.random.default_rng(0)))


def test_low_shot_numbers_are_the_protocol_written_out():
    train, test = case(40, seed=2), case(30, seed=3)
    (found,) = svm.few(train, test, [3], 2, COSTS, seed=5)
    of_cost = {}
    for cost in COSTS:
        of_cost[cost] = []
        for draw in range(2):
            images, values = svm.drawn(train[1], 3, np.random.default_rng((5, draw, 3))), []
            for one, at in enumerate(images):
                signs = [1 if train[1][image, one] == 1 else -1 for image in at]
                machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, max_iter=2000, random_state=5)
                scores = machine.fit(train[0][at], signs).decision_function(test[0])
                values.append(100 * devkit.ap_2010(scores, test[1][:, one]))
            of_cost[cost].append(statistics.mean(values))
    best = max(COSTS, key=lambda cost: statistics.mean(of_cost[cost]))
    assert found == pytest.approx((3, statistics.mean(of_cost[best]), statistics.stdev(of_cost[best]), best))
