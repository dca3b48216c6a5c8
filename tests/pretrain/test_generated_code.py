"""The code that the compiler generates for a GPU launches as few kernels as was promised."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from packaging.version import Version
from torchvision.models.resnet import Bottleneck

from helpers.generated_code import eager_launches, launches
from pretrain.augment import photometry
from pretrain.augment.multicrop import NUMBERS
from pretrain.models.batchnorm import OverRanks, ViewBatchNorm, statistics_of_each
from pretrain.models.pixels import IMAGENET
from pretrain.models.siamese import Siamese, project
from pretrain.runtime import distributed

pytest.importorskip("triton", reason="torch has no Triton here, so nothing is generated for a GPU")
pytestmark = pytest.mark.slow
VERSION = Version(torch.__version__)
GPU = torch.device("cuda", 0)


MAPS = (2 * 16, 64, 56, 56)  # two views of 16 images


def on_gpu(*shapes, dtype=torch.float32):
    return lambda: tuple(torch.empty(shape, dtype=dtype, device=GPU) for shape in shapes)


def views():
    return torch.empty(2, 16, 3, 224, 224, dtype=torch.uint8, device=GPU), torch.empty(2, 16, NUMBERS, device=GPU)


def finished(crops, draws):
    """What the device does to views before the network sees them."""
    return photometry._eager(crops, draws, IMAGENET)


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
        (finished, views, 25),
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


# the most that is launched; torch 2.10 fuses less, and launches 34 for the block
WHOLE = {"a block of a ResNet-50": 28, "resnet18": 181, "resnet50": 451} if Version("2.14") <= VERSION else {}


class Pass(torch.nn.Module):
    """A forward pass of two views in bf16: of an architecture and its projector, or of one block."""

    def __init__(self, name):
        super().__init__()
        if name in ("resnet18", "resnet50"):
            branch = Siamese(name, True, 3, 2048).online
            self.parts, self.shape = torch.nn.ModuleList([branch.trunk, branch.projector]), (2, 16, 3, 224, 224)
        else:
            self.parts = torch.nn.ModuleList([Bottleneck(256, 64, norm_layer=ViewBatchNorm)])
            self.shape = (2 * 16, 256, 56, 56)

    def forward(self, images):
        with torch.autocast("cuda", torch.bfloat16), statistics_of_each(self, 2):
            return project(*self.parts, images) if len(self.parts) > 1 else self.parts[0](images)


def passed(name):
    """The pass as a function of images and state, which a graph takes as its inputs; made on the fake device."""
    module = Pass(name).to("cuda").to(memory_format=torch.channels_last)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    images = torch.empty(module.shape, device=GPU)
    call = lambda images, *values: torch.func.functional_call(module, dict(zip(state, values, strict=True)), (images,))  # noqa: E731
    return call, (images, *(value.detach() for value in state.values()))


@pytest.mark.parametrize("name", ["a block of a ResNet-50", *os.environ.get("UNIGRAD_LAUNCHES", "").split()])
def test_a_whole_pass_over_ranks_launches_at_most_half(monkeypatch, name):
    """UNIGRAD_LAUNCHES="resnet18 resnet50" counts whole networks, which takes minutes."""
    monkeypatch.setattr(distributed, "all_mean", torch.clone)
    monkeypatch.setattr(distributed, "world_size", lambda: 8)
    direct = lambda *given: forward(given[0], *given[1:3])  # noqa: E731 - functionalize takes no autograd function
    monkeypatch.setattr(OverRanks, "apply", direct)
    made = {}

    def make():
        made["call"], given = passed(name)
        return given

    found, eager = (count(lambda *given: made["call"](*given), make) for count in (launches, eager_launches))
    assert found.total() <= WHOLE.get(name, eager) and 2 * found.total() <= eager
