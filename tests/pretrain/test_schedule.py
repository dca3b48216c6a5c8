"""Schedules against the formulas of the paper's appendix, written out."""

from __future__ import annotations

import math

import pytest

from pretrain.optim import target_momentum, warmup_cosine


def test_learning_rate_warms_up_linearly_then_follows_a_cosine_that_ends_at_zero():
    at = warmup_cosine(0.2, 0.05)
    for step in range(1000):
        expected = 0.2 * step / 50 if step < 50 else 0.2 * 0.5 * (1 + math.cos(math.pi * (step - 50) / 950))
        assert at(step / 1000) == pytest.approx(expected, abs=1e-9)


def test_without_warm_up_the_first_step_has_the_peak():
    assert warmup_cosine(0.3, 0.0)(0.0) == pytest.approx(0.3)


def test_target_momentum_rises_to_one_as_in_the_official_code():
    at = target_momentum(0.996)
    for step in range(100):
        assert at(step / 100) == pytest.approx(1 - (1 - 0.996) * (math.cos(math.pi * step / 100) + 1) / 2, abs=1e-12)
