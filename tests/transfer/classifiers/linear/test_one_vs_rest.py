"""transfer.classifiers.linear.one_vs_rest, against scikit-learn's logistic regression of each class alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transfer.classifiers.linear import one_vs_rest
from transfer.features.on_device import DeviceRows

CPU = torch.device("cpu")


def rows_and_marks(images=80, width=6, classes=3, seed=0):
    """Rows that tell the classes with noise, a constant column among them; some marks are difficult."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(3, 2, (images, width)).astype(np.float32)
    rows[:, -1] = 5
    hidden = (rows[:, :-1] - 3) @ draw.normal(size=(width - 1, classes)) + draw.normal(0, 2, (images, classes))
    marks = (hidden > 0.5).astype(np.int8)
    marks[draw.random(marks.shape) < 0.15] = -1
    return rows, marks


@pytest.mark.parametrize("decay", [1.0, 0.01])
def test_each_class_is_scikit_learns_binary_fit_of_its_known_images(decay):
    rows, marks = rows_and_marks()
    white = one_vs_rest.whitened(DeviceRows(torch.from_numpy(rows)), CPU)
    fitted = one_vs_rest.fit(white, torch.from_numpy(marks), torch.ones(len(rows), dtype=torch.bool), decay)
    assert fitted.residual < 1e-4
    std = rows.std(0, dtype=np.float64)
    standardised = (rows - rows.mean(0, dtype=np.float64)) / np.where(std > 1e-6, std, 1)
    for one in range(marks.shape[1]):
        known = marks[:, one] >= 0
        solver = LogisticRegression(C=1 / (decay * known.sum()), tol=1e-10, max_iter=5000)
        solver.fit(standardised[known], marks[known, one])
        assert fitted.scores(white.rows)[:, one] == pytest.approx(solver.decision_function(standardised), abs=2e-3)


def test_the_decay_is_chosen_on_held_out_images_and_all_are_fitted_in_the_end():
    rows, marks = rows_and_marks(seed=1)
    white = one_vs_rest.whitened(DeviceRows(torch.from_numpy(rows)), CPU)
    fitted, details = one_vs_rest.choose_and_fit(white, marks, 0.25, 0, decays=(10.0, 0.1))
    best = max(details["held_out_mAP"], key=details["held_out_mAP"].__getitem__)
    assert details["weight_decay"] == float(best) and set(details["held_out_mAP"]) == {"10", "0.1"}
    everything = torch.ones(len(rows), dtype=torch.bool)
    again = one_vs_rest.fit(white, torch.from_numpy(marks), everything, details["weight_decay"])
    assert fitted.weight == pytest.approx(again.weight)
