"""transfer.classifiers.linear.logistic_regression against Newton's method on autograd derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from transfer.classifiers.accuracy import top, top1_top5
from transfer.classifiers.linear import logistic_regression
from transfer.features.rows import Features

CLASSES, WIDTH = 3, 4


@pytest.fixture
def problem():
    """Overlapping classes with correlated columns of very different lengths."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=generator, dtype=torch.float64)
    rows = centres[labels] + torch.randn(90, WIDTH, generator=generator, dtype=torch.float64)
    rows[:, 1] += 3 * rows[:, 0]
    return rows * torch.tensor([1.0, 50.0, 0.01, 1.0], dtype=torch.float64) + 7, labels


def loss_of(parameters, rows, labels, weight_decay):
    """The objective, naively: standardised rows, cross-entropy of torch, decay on the weight only."""
    weight, bias = parameters[: CLASSES * WIDTH].view(CLASSES, WIDTH), parameters[CLASSES * WIDTH :]
    standardised = (rows - rows.mean(0)) / rows.std(0, correction=0)
    return functional.cross_entropy(standardised @ weight.T + bias, labels) + weight_decay / 2 * (weight**2).sum()


def newton(rows, labels, weight_decay):
    """The minimiser, by Newton steps with autograd's Hessian (pseudo-inverse: all biases may shift together)."""
    parameters = torch.zeros(CLASSES * WIDTH + CLASSES, dtype=torch.float64)
    for _ in range(15):
        given = parameters.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(given, rows, labels, weight_decay), given)
        hessian = torch.autograd.functional.hessian(lambda p: loss_of(p, rows, labels, weight_decay), parameters)
        parameters = parameters - torch.linalg.pinv(hessian, hermitian=True, rtol=1e-10) @ gradient
    return parameters


@pytest.mark.parametrize("weight_decay", [1.0, 1e-2, 1e-4])
def test_fit_is_newtons_minimiser(problem, weight_decay):
    rows, labels = problem
    probe = logistic_regression.fit(rows, labels, CLASSES, weight_decay)
    expected = newton(rows, labels, weight_decay)
    found = torch.cat([probe.weight.flatten(), probe.bias - probe.bias.mean()])
    assert probe.residual < 1e-4
    assert torch.allclose(found, expected, atol=2e-3 if weight_decay < 1e-3 else 2e-4)
    assert loss_of(found, rows, labels, weight_decay) - loss_of(expected, rows, labels, weight_decay) < 1e-8


def test_objective_and_gradient_equal_autograds_also_in_chunks(problem, monkeypatch):
    rows, labels = problem
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(CLASSES * WIDTH + CLASSES, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = loss_of(parameters, rows, labels, 0.3)
    (gradient,) = torch.autograd.grad(expected, parameters)
    weight, bias = parameters.detach().split((CLASSES * WIDTH, CLASSES))
    mean, std = rows.mean(0), rows.std(0, correction=0)
    probe = logistic_regression.Probe(weight.view(CLASSES, WIDTH), bias, mean, std, 0.0)
    monkeypatch.setattr(logistic_regression, "CHUNK", 7)
    value, *gradients = logistic_regression.objective(probe, rows, labels, 0.3)
    assert torch.allclose(value, expected.detach(), rtol=1e-12)
    assert torch.allclose(torch.cat([part.flatten() for part in gradients]), gradient, atol=1e-12)


def test_every_start_ends_in_the_same_place(problem):
    rows, labels = problem
    cold = logistic_regression.fit(rows, labels, CLASSES, 1e-2)
    far = logistic_regression.Probe(cold.weight + 5, cold.bias - 3, cold.mean, cold.std, 0.0)
    warm = logistic_regression.fit(rows, labels, CLASSES, 1e-2, start=far)
    assert torch.allclose(cold.weight, warm.weight, atol=2e-3)
    assert torch.equal(cold.scores(rows).argmax(1), warm.scores(rows).argmax(1))


def test_constant_columns_do_no_harm(problem):
    rows, labels = problem
    padded = torch.cat([rows, torch.full((len(rows), 2), 5.0, dtype=torch.float64)], dim=1)
    probe = logistic_regression.fit(padded, labels, CLASSES, 1e-2)
    assert torch.equal(probe.weight[:, WIDTH:], torch.zeros(CLASSES, 2, dtype=torch.float64))
    assert torch.allclose(
        probe.weight[:, :WIDTH], logistic_regression.fit(rows, labels, CLASSES, 1e-2).weight, atol=1e-4
    )


def test_held_out_slice_is_balanced_and_drawn_from_the_seed():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    mask = logistic_regression.held_out(labels, 0.2, seed=0)
    assert [int(mask[labels == label].sum()) for label in range(4)] == [10, 2, 1, 0]
    assert torch.equal(mask, logistic_regression.held_out(labels, 0.2, seed=0))
    assert not torch.equal(mask, logistic_regression.held_out(labels, 0.2, seed=1))


def features_of(rows, labels):
    return Features(rows.float(), labels, tuple(map(str, range(len(rows)))), (), 0.0)


def test_val_does_not_choose_the_weight_decay(problem):
    rows, labels = problem
    train = features_of(rows, labels)
    found = [
        logistic_regression.fit_and_score(train, features_of(rows[:30], val), CLASSES, torch.device("cpu"), 0.2, 0)
        for val in (labels[:30], (labels[:30] + 1) % CLASSES)
    ]
    assert found[0][1] == found[1][1]
    assert found[0][0]["top1"] > 60 > found[1][0]["top1"]


def test_one_image_a_class_still_fits_and_says_that_nothing_was_chosen(capsys):
    train = features_of(torch.eye(3), torch.arange(3))
    metrics, found = logistic_regression.fit_and_score(train, train, CLASSES, torch.device("cpu"), 0.2, 0)
    assert metrics == {"top1": 100.0}
    assert found["held_out_top1"] == {}
    assert "every class has one image" in capsys.readouterr().out


def test_accuracy_counts_labels_among_the_highest_scores():
    scores = torch.tensor([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, float("nan")]])
    labels = torch.tensor([0, 1, 5])
    assert top(scores, labels, 1) == pytest.approx(100 / 3)
    assert top1_top5(scores, labels) == {"top1": pytest.approx(100 / 3), "top5": pytest.approx(200 / 3)}
