"""The benchmark beside lightly: its numbers fit together, and the gradients that it shows are those of one method."""

from __future__ import annotations

import pytest
import torch

from tools.benchmarks.measure import methods

pytest.importorskip("lightly")


@pytest.mark.slow
def test_rows_are_timed_beside_a_peer_of_the_same_gradient():
    costs = {cost.row: cost for cost in methods.measure(2, 1, torch.device("cpu"))}
    assert list(costs) == ["barlow_twins", "byol", "simclr"]
    assert costs["simclr"].gap < 1e-3 and costs["barlow_twins"].gap < 1e-3 < costs["byol"].gap
    for cost in costs.values():
        assert min(*cost.ours, *cost.lightly, *cost.ratio) > 0 and cost.ours.repeats == 2
        assert f"{cost.gap:.0e}" in methods.line(cost) and cost.row in methods.line(cost)
