"""A batch of several views has the outputs, gradients and running statistics of passing them one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from pretrain.models.batchnorm import OverRanks, ViewBatchNorm, statistics_of_each, without_running_statistics

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def over_ranks(*arguments):
    return OverRanks.apply(*arguments)


WAYS = {"eager": over_ranks, "compiled": torch.compile(over_ranks, backend="aot_eager", fullgraph=True, dynamic=False)}


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
@pytest.mark.parametrize("way", WAYS)
def test_what_ranks_compute_is_batchnorm_of_every_view_in_a_world_of_one(way, shape, device):
    """Against torch's own, per view: outputs, biased moments and all three gradients."""
    generator = torch.Generator(device).manual_seed(0)
    draw = {"dtype": torch.float64, "device": device, "generator": generator}
    values, weights, (weight, bias) = torch.randn(shape, **draw), torch.randn(shape, **draw), torch.randn(2, 5, **draw)
    ours, theirs = ([each.clone().requires_grad_() for each in (values, weight, bias)] for _ in range(2))
    output, means, variances = WAYS[way](*ours, 2, 1e-5)
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
@pytest.mark.parametrize("way", WAYS)
def test_statistics_over_ranks_survive_a_mean_far_from_zero(way, dtype):
    """E[x²] - E[x]² in float32 gives variances from -2 to 6 here, where 1 is right."""
    maps = (torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 3000).to(dtype)
    output, _, variances = WAYS[way](maps, torch.ones(3), torch.zeros(3), 1, 1e-5)
    assert output.dtype == dtype and variances.dtype == torch.float32
    torch.testing.assert_close(variances[0], maps.double().var((0, 2, 3), correction=0).float(), rtol=1e-3, atol=0)


def test_a_compiler_can_fuse_everything_that_a_norm_does_to_maps():
    """Maps meet no kernel, only sums and what is done element by element: forward one sum, backward two."""
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return make_boxed_func(graph)

    maps = torch.randn(6, 5, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep)
    function = torch.compile(over_ranks, backend=backend, fullgraph=True, dynamic=False)
    output = function(maps, *torch.ones(2, 5, dtype=torch.float64), 2, 1e-5)[0]
    output.backward(torch.ones_like(output))
    assert maps.grad.is_contiguous(memory_format=torch.channels_last)
    assert [other_than_elementwise(graph, maps.numel()) for graph in graphs] == [["var_mean"], ["sum", "sum"]]


def other_than_elementwise(graph, size):
    """Names of the operations that take or give a tensor of `size` numbers and are no views, nor element by element."""
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            values = [one.meta["val"] for one in (node, *node.all_input_nodes)]
            whole = any(isinstance(value, torch.Tensor) and value.numel() == size for value in values)
            name = node.target.overloadpacket.__name__  # a change of type is written where the numbers are made
            if whole and name != "_to_copy" and not node.target.is_view and torch.Tag.pointwise not in node.target.tags:
                found.append(name)
    return found


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
