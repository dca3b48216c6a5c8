"""Branches give unit rows per view, the projector is the official one, the target is a moving average."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import Siamese, build_projector
from pretrain.models.trunks import build_trunk


@pytest.fixture
def siamese():
    torch.manual_seed(0)
    return Siamese("resnet18", True, 2, 16).double()


def test_rows_are_unit_and_each_view_has_its_own_statistics(siamese):
    views = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    apart = copy.deepcopy(siamese.online)
    rows = siamese.online([views])
    expected = torch.stack([apart.projector(apart.trunk(view)) for view in views])
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2, 4, dtype=torch.float64))
    torch.testing.assert_close(rows, expected / expected.norm(dim=-1, keepdim=True))


def test_projector_layers_are_the_official_ones():
    kinds = [type(layer) for layer in build_projector(512, 2048, 3)]
    assert kinds == [nn.Linear, ViewBatchNorm, nn.ReLU, nn.Linear, ViewBatchNorm, nn.ReLU, nn.Linear]
    first, middle, last = (layer for layer in build_projector(512, 2048, 3) if isinstance(layer, nn.Linear))
    assert first.bias is None and middle.bias is None and last.bias is not None
    assert (first.in_features, last.out_features) == (512, 2048)


def test_zero_init_residual_zeroes_the_last_batchnorm_of_every_block():
    trunk, width = build_trunk("resnet50")
    assert width == 2048
    assert all(not block.bn3.weight.any() for block in [*trunk.layer1, *trunk.layer4])


@pytest.mark.slow
def test_target_follows_parameters_only_and_gets_no_gradient(siamese):
    with torch.no_grad():
        for parameter in siamese.online.parameters():
            parameter.add_(torch.randn_like(parameter))
    siamese.online.trunk.bn1.running_mean.fill_(5)
    before = copy.deepcopy(siamese)
    siamese.update_target(0.9)
    for name, after in siamese.target.named_parameters():
        old, online = before.target.get_parameter(name), before.online.get_parameter(name)
        torch.testing.assert_close(after, 0.9 * old + 0.1 * online)
        assert not after.requires_grad
    assert not siamese.target.trunk.bn1.running_mean.any()
