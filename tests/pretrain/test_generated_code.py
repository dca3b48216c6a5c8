"""The code that the compiler generates for a GPU launches as few kernels as was promised."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers.generated_code import eager_launches, launches
from pretrain.augment import photometry
from pretrain.augment.multicrop import NUMBERS
from pretrain.models.batchnorm import OverRanks
from pretrain.runtime import distributed

pytest.importorskip("triton", reason="torch has no Triton here, so nothing is generated for a GPU")
pytestmark = pytest.mark.slow
GPU = torch.device("cuda", 0)


MAPS = (2 * 16, 64, 56, 56)  # two views of 16 images


def on_gpu(*shapes, dtype=torch.float32):
    return lambda: tuple(torch.empty(shape, dtype=dtype, device=GPU) for shape in shapes)


def views():
    return torch.empty(2, 16, 3, 224, 224, dtype=torch.uint8, device=GPU), torch.empty(2, 16, NUMBERS, device=GPU)


def forward(maps, weight, bias):
    """What a norm over ranks computes in a forward pass."""
    context = SimpleNamespace(save_for_backward=lambda *_: None, mark_non_differentiable=lambda *_: None)
    return OverRanks.forward(context, maps, weight, bias, 2, 1e-5)


def backward(gradient, maps, means, variances, weight, bias):
    """And in a backward pass."""
    context = SimpleNamespace(saved_tensors=(maps, means, variances, weight, bias), eps=1e-5)
    return OverRanks.backward(context, gradient)[:3]


@pytest.mark.parametrize(
    ("function", "make", "most"),
    [
        (photometry._eager, views, 25),
        (forward, on_gpu(MAPS, (64,), (64,)), 5),
        (backward, on_gpu(MAPS, MAPS, (2, 64), (2, 64), (64,), (64,)), 7),
    ],
    ids=["photometry of two views", "a norm over ranks, forward", "a norm over ranks, backward"],
)
def test_what_is_compiled_launches_few_kernels_and_at_most_half(monkeypatch, function, make, most):
    """The collective of a norm is left out of both counts."""
    monkeypatch.setattr(distributed, "all_mean", torch.clone)
    found = launches(function, make)
    assert found.total() == found["triton"] <= most
    eager = eager_launches(function, make)
    assert 2 * found.total() <= eager
