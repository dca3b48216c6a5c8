"""transfer.classifiers.robust_accuracy, against counting by hand and the definition of the mean corruption error."""

from __future__ import annotations

import pytest
import torch

from transfer.classifiers import robust_accuracy
from transfer.datasets.corruption_names import ALEXNET, FURTHER_NAMES, STANDARD_NAMES
from transfer.datasets.corruptions import FURTHER, STANDARD


def test_any_of_several_classes_is_right_and_others_may_be_left_out_of_the_comparison():
    scores = torch.randn(200, 9, generator=torch.Generator().manual_seed(0)).double()
    right = [[row % 9, (row + 3) % 9] if row % 2 else [row % 7] for row in range(200)]
    for among in (None, [0, 1, 2, 3, 4, 5, 6, 8]):
        allowed = range(9) if among is None else among
        orders = [sorted(allowed, key=lambda at: -row[at]) for row in scores.tolist()]
        expected = {
            f"top{k}": sum(bool(set(order[:k]) & set(one)) for order, one in zip(orders, right, strict=True)) / 2
            for k in (1, 5)
        }
        assert robust_accuracy.of_sets(scores, right, among) == pytest.approx(expected)


def test_scores_that_are_no_numbers_are_wrong_and_few_classes_have_no_top5():
    scores = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]).double()
    assert robust_accuracy.of_sets(scores, [[0], [0]], None) == {"top1": 50.0}


def test_alexnet_itself_has_a_mean_corruption_error_of_100():
    top1 = {(name, severity): 100 - ALEXNET[name] for name in STANDARD_NAMES for severity in range(1, 6)}
    found = robust_accuracy.of_corruptions(top1 | {("saturate", 1): 50.0, ("saturate", 4): 40.0})
    assert found["mCE"] == pytest.approx(100)
    assert found["mean of 15 corruptions, top1"] == pytest.approx(100 - sum(ALEXNET.values()) / 15)
    assert found["saturate, top1"] == pytest.approx(45) and found["fog, top1"] == pytest.approx(100 - ALEXNET["fog"])
    del top1["fog", 5]
    found = robust_accuracy.of_corruptions(top1)
    assert not [
        name for name in found if name == "mCE" or name.startswith("mean")
    ]  # fog's would be of other severities


@pytest.mark.parametrize(("severities", "at"), [([3], " at severity 3"), ([1, 4], " at severities 1, 4")])
def test_a_few_corruptions_have_a_mean_that_says_which_it_is_of(severities, at):
    top1 = {("fog", severity): 30.0 + severity for severity in severities}
    assert list(robust_accuracy.of_corruptions(top1)) == ["fog, top1"]
    both = robust_accuracy.of_corruptions(top1 | {("snow", severity): 50.0 - severity for severity in severities})
    assert both == {**both, f"mean of 2 corruptions{at}, top1": 40.0} and len(both) == 3


def test_names_are_those_of_the_functions_and_groups_are_told_apart():
    assert tuple(STANDARD) == STANDARD_NAMES and tuple(FURTHER) == FURTHER_NAMES
    corrupted, others = robust_accuracy.split_corruptions({"C fog 3": 1.0, "A": 2.0, "V2 top-images": 3.0})
    assert corrupted == {("fog", 3): 1.0} and others == {"A": 2.0, "V2 top-images": 3.0}
