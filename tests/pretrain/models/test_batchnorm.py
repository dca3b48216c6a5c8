"""A batch of several views has the outputs, gradients and running statistics of passing them one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pretrain.models.batchnorm import OverRanks, ViewBatchNorm, statistics_of_each, without_running_statistics

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def network(norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 5, 3), norm(5, affine=False)]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch_of_views_equals_the_views_one_after_the_other(count):
    ours, plain = network(ViewBatchNorm), network(nn.BatchNorm2d)
    views = torch.randn(count, 6, 3, 8, 8, dtype=torch.float64) * torch.arange(1.0, count + 1).view(-1, 1, 1, 1, 1)
    weights = torch.randn(count, 6, 5, 4, 4, dtype=torch.float64)
    one, other = views.clone().requires_grad_(), views.clone().requires_grad_()
    with statistics_of_each(ours, count):
        together = ours(one.flatten(0, 1)).unflatten(0, (count, 6))
    apart = torch.stack([plain(view) for view in other])
    (together * weights).sum().backward(), (apart * weights).sum().backward()
    exactly = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(together, apart, **exactly)
    torch.testing.assert_close(one.grad, other.grad, **exactly)
    for (name, value), expected in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value.grad, expected.grad, **exactly, msg=name)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), **exactly)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3, 3)], ids=["rows", "maps"])
def test_what_ranks_compute_is_batchnorm_of_every_view_in_a_world_of_one(shape, device):
    """Against torch's own, per view: outputs, biased moments and all three gradients."""
    generator = torch.Generator(device).manual_seed(0)
    draw = {"dtype": torch.float64, "device": device, "generator": generator}
    values, weights, (weight, bias) = torch.randn(shape, **draw), torch.randn(shape, **draw), torch.randn(2, 5, **draw)
    ours, theirs = ([each.clone().requires_grad_() for each in (values, weight, bias)] for _ in range(2))
    output, means, variances = OverRanks.apply(*ours, 2, 1e-5)
    normalised = [nn.functional.batch_norm(view, None, None, *theirs[1:], True) for view in theirs[0].chunk(2)]
    expected = torch.cat(normalised)
    (output * weights).sum().backward(), (expected * weights).sum().backward()
    pairs = [(output, expected), *((one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))]
    for view, mean, variance in zip(values.chunk(2), means, variances, strict=True):
        channels = view.transpose(0, 1).flatten(1)
        pairs += [(mean, channels.mean(1)), (variance, channels.var(1, correction=0))]
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_over_ranks_survive_a_mean_far_from_zero(dtype):
    """E[x²] - E[x]² in float32 gives variances from -2 to 6 here, where 1 is right."""
    maps = (torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 3000).to(dtype)
    output, _, variances = OverRanks.apply(maps, torch.ones(3), torch.zeros(3), 1, 1e-5)
    assert output.dtype == dtype and variances.dtype == torch.float32
    torch.testing.assert_close(variances[0], maps.double().var((0, 2, 3), correction=0).float(), rtol=1e-3, atol=0)


def test_copies_and_evaluation_know_nothing_of_groups():
    ours, plain = network(ViewBatchNorm).eval(), network(nn.BatchNorm2d).eval()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    with statistics_of_each(ours, 2):
        torch.testing.assert_close(ours(images), plain(images))
    torch.testing.assert_close(copy.deepcopy(ours).train()(images), plain.train()(images))


def test_a_pass_without_running_statistics_leaves_them():
    ours = network(ViewBatchNorm)
    before = copy.deepcopy(ours[1].running_mean)
    with without_running_statistics(ours), statistics_of_each(ours, 2):
        ours(torch.randn(4, 3, 8, 8, dtype=torch.float64))
    assert torch.equal(ours[1].running_mean, before) and ours[1].momentum == 0.1
