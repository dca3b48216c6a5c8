"""A step on a GPU that is not there: nothing is read on the host, nothing mixes devices, no copy blocks.

The helpers that say so are tested first: what they are to catch is planted, and real gradients that are computed on the
way that fake ones take are torch's own.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from helpers import fake_backward
from helpers.fake_gpu import WaitsForTheDevice, Watched, fake_gpu, fake_ranks
from helpers.tiny_runs import TINY, fixed_batch, tiny_branch
from pretrain import objective
from pretrain.augment.multicrop import NUMBERS, Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build, fill_balance
from pretrain.methods import ROWS
from pretrain.models import siamese
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.step import step

pytestmark = pytest.mark.slow
GPU = torch.device("cuda", 0)
FAULTS = {
    "a number": (lambda rows: rows * rows.sum().item(), DataDependentOutputException),
    "a condition": (lambda rows: rows if rows.sum() > 0 else -rows, DataDependentOutputException),
    "places that are not zero": (lambda rows: rows.nonzero(), DynamicOutputShapeException),
    "a choice by a mask": (lambda rows: rows[rows[:, 0] > 0], DynamicOutputShapeException),
    "a sum with a tensor of the host": (lambda rows: rows + torch.ones(rows.shape), RuntimeError),
    "a literal": (lambda rows: rows * torch.tensor([2.0], device=rows.device), WaitsForTheDevice),
    "a new tensor of numbers": (lambda rows: rows * rows.new_tensor([2.0]), WaitsForTheDevice),
    "a copy from the host": (lambda rows: rows + torch.ones(rows.shape).to(rows.device), WaitsForTheDevice),
    "a copy to the host": (lambda rows: rows.cpu(), WaitsForTheDevice),
    "indices of the host": (lambda rows: rows[torch.tensor([1, 0])], WaitsForTheDevice),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_makes_the_host_wait_is_caught(fault):
    planted, error = FAULTS[fault]
    with fake_gpu(), Watched():
        rows = torch.ones(4, 3, device=GPU)
        with pytest.raises(error):
            planted(rows)


class ReadsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):
        return rows.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * gradient.abs().max().item()


def test_what_a_backward_reads_is_caught():
    with fake_gpu():
        layer = nn.Linear(3, 2).to(GPU)
        loss = ReadsInBackward.apply(layer(torch.ones(4, 3, device=GPU))).sum()
        with Watched(), pytest.raises(DataDependentOutputException):
            loss.backward()


def test_asynchronous_copies_and_what_the_host_computes_alone_pass():
    with fake_gpu(), Watched() as watched:
        order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
        assert order[order > 3].sum().item() == 4 + 5 + 6 + 7
        rows = torch.ones(8, 3, device=GPU) @ torch.ones(3, 2).to(GPU, non_blocking=True)
        found = torch.empty(8, 2).copy_(rows, non_blocking=True)
        assert rows[order.to(GPU, non_blocking=True)].device == GPU and found.device.type == "cpu"
    assert watched.copies == 3
    assert watched.by_operator["aten.mm.default"] == 1 and watched.launches == 6


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_walk_over_a_graph_gives_the_gradients_of_autograds_own_engine(ranks):
    """Real float64 numbers: a gradient that takes a wrong edge, or is not added up, shows."""
    ours = tiny_branch()
    theirs = copy.deepcopy(ours)
    views = torch.rand(2, 5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with fake_ranks(ranks):
        losses = [(branch([views]) * torch.linspace(-1, 1, 5).double()).square().sum() for branch in (ours, theirs)]
        fake_backward.backward(losses[0])
        losses[1].backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert other.grad.abs().max() > 1e-6
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-14)


ALL = "mixing.cutmix_alpha=1 views.local_count=3 views.local_size=16 optim.accumulate=2 optim.optimiser=lars"
VARIANTS = {
    "plain": "",
    "CutMix": "mixing.cutmix_alpha=1",
    "local views": "views.local_count=3 views.local_size=16",
    "parts": "optim.accumulate=2",
    "bf16": "run.precision=bf16",
    "fp16": "run.precision=fp16",
    "LARS": "optim.optimiser=lars optim.bias_base_lr=0.1",
    "all, fp16": f"{ALL} run.precision=fp16",
}


def small_trunk(arch, zero_init_residual, channels=3):
    """What takes the time of a fake step is the number of operations; a row's own are those after the trunk."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), ViewBatchNorm(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8


CASES = [  # all of them together take three minutes, so rows meet every option at once, and one row each alone
    *((row, "all, fp16", 8) for row in ROWS),
    *(("unigrad", variant, ranks) for variant in VARIANTS if variant != "all, fp16" for ranks in (1, 8)),
]


@pytest.mark.parametrize(("row", "variant", "ranks"), CASES)
def test_a_step_of_every_row_never_makes_the_host_wait(monkeypatch, row, variant, ranks):
    monkeypatch.setattr(siamese, "build_trunk", small_trunk)
    assert never_waits(row, VARIANTS[variant], ranks).launches > 50


@pytest.mark.parametrize(("words", "ranks"), [("", 8), (f"{ALL} run.precision=fp16", 1)], ids=["plain", "all"])
def test_a_step_of_a_whole_network_never_makes_the_host_wait(words, ranks):
    assert never_waits("unigrad", words, ranks).launches > 500


@pytest.mark.parametrize("ranks", [1, 8])
@pytest.mark.parametrize("words", ["", ALL])
def test_a_linear_head_that_learns_along_never_makes_the_host_wait(monkeypatch, words, ranks):
    monkeypatch.setattr(siamese, "build_trunk", small_trunk)
    without, having = (never_waits("unigrad", words, ranks, classes).launches for classes in (0, 1000))
    assert 10 < having - without < 120


def never_waits(row, words, ranks, classes=0):
    """One step of a row at some fake ranks; what was watched."""
    chosen = [f"method.name={row}", "run.device=cuda", "run_dir=r", "data.root=d", *words.split()]
    cfg = load(Config, None, [*TINY, *chosen])
    with fake_ranks(ranks), fake_gpu():
        learner = build(fill_balance(cfg), GPU, classes)
        objective._checked.add(learner.form)  # the first step may wait: it looks at the norms of its rows
        sizes = [(2, 32), (cfg.views.local_count, 16)][: 1 + bool(cfg.views.local_count)]
        crops = [torch.zeros(views, 8, 3, side, side, dtype=torch.uint8).pin_memory() for views, side in sizes]
        draws = [torch.zeros(views, 8, NUMBERS).pin_memory() for views, _ in sizes]
        with Watched() as watched:
            labels = torch.zeros(8, dtype=torch.int64).to(GPU, non_blocking=True)
            stepped = step(learner, Batch(tuple(crops), tuple(draws), [], labels), 1, 10)
        assert all(value.device == GPU and not value.dim() for value in stepped.values.values())
        assert all(one.grad is not None and one.grad.device == GPU for one in learner.model.online.parameters())
        assert all(one.grad is None and one.device == GPU for one in learner.model.target.parameters())
    assert watched.copies >= 2 * len(sizes)  # crops and drawn numbers
    return watched


def test_what_waits_in_the_middle_of_a_step_is_caught():
    with fake_gpu():
        learner = build(load(Config, None, [*TINY, "run.device=cuda", "run_dir=r", "data.root=d"]), GPU)
        learner.model.target.trunk.layer1.register_forward_hook(lambda _, __, maps: maps * maps.mean().item())
        with Watched(), pytest.raises(DataDependentOutputException):
            step(learner, Batch((fixed_batch(),), None, []), 1, 10)
