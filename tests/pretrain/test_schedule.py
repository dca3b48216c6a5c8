"""Schedules against the formulas of the paper's appendix, written out."""

from __future__ import annotations

import math

import pytest

from pretrain.optim.scaling import momentum_at, peak
from pretrain.optim.schedules import at_batch, target_momentum, warmup_cosine


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


def test_the_cosine_may_end_above_zero():
    at = warmup_cosine(2.0, 0.0, 0.5)
    for step in range(101):
        assert at(step / 100) == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi * step / 100)) / 2, abs=1e-12)


def test_the_learning_rate_of_simclr_grows_with_the_batch_or_with_its_root():
    """Appendix B.1: 0.3 × batch / 256, or 0.075 × √batch, which are both 4.8 at 4096."""
    assert peak(0.3, 4096, "linear") == pytest.approx(4.8) == peak(0.075 * 16, 4096, "sqrt")
    assert peak(0.075 * 16, 1024, "sqrt") == pytest.approx(0.075 * 32) and peak(0.03, 64, "none") == 0.03


@pytest.mark.parametrize("factor", [2, 16])
def test_a_small_batch_keeps_of_the_target_what_a_large_one_does_over_the_same_images(factor):
    """Of a target that follows constant weights: many small steps end where one large step does."""
    target, online, momentum = 3.0, -1.0, momentum_at(0.99, 1024 // factor, 1024)
    for _ in range(factor):
        target = momentum * target + (1 - momentum) * online
    assert target == pytest.approx(0.99 * 3.0 + 0.01 * -1.0, rel=1e-12)
    assert momentum_at(0.99, 64, None) == 0.99


def test_the_momentum_of_another_batch_follows_the_schedule():
    plain, carried = target_momentum(0.9, 0.99), at_batch(target_momentum(0.9, 0.99), 64, 256)
    assert [carried(where) ** 4 for where in (0.0, 0.3, 1.0)] == pytest.approx([plain(where) for where in (0, 0.3, 1)])
