"""transfer.classifiers.linear.linear_head: it scores as what was trained, and belongs to one trunk."""

from __future__ import annotations

import pytest
import torch

from pretrain.runtime.errors import UserError
from transfer.classifiers.linear import linear_head, logistic_regression
from transfer.classifiers.linear.linear_head import Head, Origin
from transfer.features.rows import Features

CPU = torch.device("cpu")
ORIGIN = Origin("a" * 64, ("cat", "dog"), 32, 37, "by hand")


def head():
    return Head(torch.eye(2, 3, dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64))


def test_a_head_of_plain_rows_scores_as_the_probe_of_standardised_ones():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    rows = 5 + 3 * torch.randn(40, 6, generator=generator) + 4 * torch.eye(6)[labels]
    train = Features(rows, labels, tuple(map(str, range(40))), (), 0.0)
    probe, _ = logistic_regression.fit_chosen(train, 3, CPU, 0.2, 0)
    assert torch.allclose(probe.head().scores(rows), probe.scores(rows), atol=1e-9)


def test_what_was_written_is_read(tmp_path):
    linear_head.save_head(tmp_path / "h.pth", head(), ORIGIN)
    found, origin = linear_head.load_head(tmp_path / "h.pth", "a" * 64)
    assert origin == ORIGIN and torch.equal(found.weight, head().weight) and torch.equal(found.bias, head().bias)
    assert found.scores(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.5, 1.0]]


def test_the_head_of_another_trunk_is_refused(tmp_path):
    linear_head.save_head(tmp_path / "h.pth", head(), ORIGIN)
    with pytest.raises(UserError, match="trained on another trunk .* begins with aaaaaaaa, not with bbbbbbbb"):
        linear_head.load_head(tmp_path / "h.pth", "b" * 64)


@pytest.mark.parametrize("change", [{"bias": torch.zeros(3)}, {"classes": ["cat"]}, {"resize": "37"}, {"format": "x"}])
def test_files_that_are_no_heads_are_refused(tmp_path, change):
    linear_head.save_head(tmp_path / "h.pth", head(), ORIGIN)
    content = torch.load(tmp_path / "h.pth", weights_only=True)
    torch.save({**content, **change}, tmp_path / "h.pth")
    with pytest.raises(UserError, match=r"h\.pth is no head: give a file that `tools/evaluate.py linear` wrote"):
        linear_head.load_head(tmp_path / "h.pth")


def test_classes_are_found_by_name_and_missing_ones_told():
    assert linear_head.places(ORIGIN, ["dog", "cat", "dog"], "here") == [1, 0, 1]
    with pytest.raises(UserError, match="here has 1 of 2 classes that the head has not, such as 'cow'"):
        linear_head.places(ORIGIN, ["cow", "cat"], "here")
