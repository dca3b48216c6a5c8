"""The trunk's convolutions give what torch's own give: outputs bit for bit, gradients to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pretrain.models import convolution
from pretrain.models.trunks import build_trunk

SHAPES = [  # channels in and out, height, width, kernel, stride, padding
    (3, 5, 1, 1, 3, 1, 1),
    (3, 5, 1, 1, 3, 2, 1),
    (3, 5, 2, 3, 3, 1, 1),
    (3, 5, 4, 2, 3, 2, 1),
    (4, 2, 5, 3, 3, 2, 0),
    (4, 2, 4, 4, 1, 2, 0),
    (4, 2, 3, 4, 5, 1, 2),
    (3, 4, 9, 7, 7, 4, 3),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_over_small_maps_are_torchs_own(shape: tuple[int, ...]) -> None:
    inward, outward, height, width, kernel, stride, padding = shape
    torch.manual_seed(0)
    own = nn.Conv2d(inward, outward, kernel, stride, padding, bias=False).double()
    ours = copy.deepcopy(own)
    convolution.use_in(ours)
    images = torch.randn(6, inward, height, width, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    results = []
    for module in (own, ours):
        given = images.clone().requires_grad_()
        output = module(given)
        output.backward(torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).double())
        results.append((output, given.grad, module.weight.grad))
    assert isinstance(results[1][0].grad_fn, torch.autograd.function.BackwardCFunction)  # ours was taken
    assert torch.equal(results[0][0], results[1][0])
    for expected, found in zip(*(result[1:] for result in results), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_trunk_trains_as_torchvisions_and_keeps_its_names_and_first_weights() -> None:
    torch.manual_seed(0)
    ours, _ = build_trunk("resnet18", zero_init_residual=False)
    after = torch.rand(1)
    theirs = copy.deepcopy(ours)
    for module in theirs.modules():
        if isinstance(module, convolution.Convolution):
            module.__class__ = nn.Conv2d
    torch.manual_seed(0)
    build_trunk("resnet18", zero_init_residual=False)
    assert torch.equal(torch.rand(1), after) and ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for trunk in (ours.double(), theirs.double()):
        trunk(images).square().sum().backward()
    for (name, found), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-9, atol=1e-9, msg=name)


def test_other_convolutions_are_left_to_torch() -> None:
    """Of groups, with dilation or bias, over large maps, and where no gradient of the weights is wanted."""
    images = torch.randn(2, 4, 4, 4)
    for changes in ({"groups": 2}, {"dilation": 2}, {"bias": True}, {"padding": "same"}, {"padding_mode": "circular"}):
        module = nn.Conv2d(4, 4, 3, **{"padding": 2, "bias": False, **changes})
        convolution.use_in(module)
        assert "SmallMaps" not in type(module(images).grad_fn).__name__
    module = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    convolution.use_in(module)
    assert "SmallMaps" in type(module(images).grad_fn).__name__
    assert "SmallMaps" not in type(module(torch.randn(2, 4, 9, 9)).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "SmallMaps" not in type(module(images).grad_fn).__name__
    assert module.requires_grad_(False)(images).grad_fn is None
