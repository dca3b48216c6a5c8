"""What ranks send each other: half of F, gradients in bf16 within a bound, each in a group of its own."""

from __future__ import annotations

import pytest
import torch

from helpers.collectives import Listening
from helpers.tiny_runs import TINY, fixed_batch, tiny_branch
from helpers.two_ranks import both
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build, wire
from pretrain.methods.folded import fold, numbers, unfold_
from pretrain.runtime import distributed
from pretrain.step import step
from tools.benchmarks.step_cost import step_cost

CPU = torch.device("cpu")
BF16 = [*TINY, "run_dir=r", "data.root=d", "run.precision=bf16"]
ROUNDING = 2**-8  # of bf16, relative: half of the distance between two numbers


@pytest.mark.parametrize("width", range(1, 10))
def test_a_folded_matrix_has_its_upper_triangle_and_nothing_more(width):
    matrix = torch.randn(width, width)
    folded, back = fold(matrix), torch.zeros(width, width)
    assert folded.numel() == numbers(width) == sum(range(width + 1))
    upper = matrix[torch.ones(width, width).triu() > 0]
    assert torch.equal(folded.flatten().sort().values, upper.sort().values)
    unfold_(back, folded)
    assert torch.equal(back.triu(), matrix.triu())


def gradients(branch, rank, wrapped):
    branch.zero_grad()
    wrapped([fixed_batch()[:, rank::2].float() / 255]).square()[..., 0].mean().backward()
    return {name: value.grad.clone() for name, value in branch.named_parameters()}


def narrowed(rank):
    """Gradients of this rank alone, their mean by way of fp32, and by way of bf16."""
    distributed.start(CPU)
    found = {"own": gradients(branch := tiny_branch().float(), rank, branch)}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        branch = tiny_branch().float()
        found[name] = gradients(branch, rank, distributed.data_parallel(branch, CPU, kind))
    return found


def test_bf16_on_the_wire_errs_by_no_more_than_its_rounding_of_each_share_and_of_their_sum(tmp_path):
    first, second = both(narrowed, tmp_path)
    for name, exact in first["fp32"].items():
        got, shares = first["bf16"][name], [rank["own"][name].double() / 2 for rank in (first, second)]
        torch.testing.assert_close(exact.double(), sum(shares), rtol=1e-5, atol=1e-7)
        bound = ROUNDING * (sum(share.abs() for share in shares) * (1 + ROUNDING) + sum(shares).abs())
        assert ((got.double() - sum(shares)).abs() <= bound + 1e-7).all(), name
        assert torch.equal(got, second["bf16"][name]) and got.dtype == torch.float32
    assert any(not torch.equal(first["bf16"][name], exact) for name, exact in first["fp32"].items())


def heard(rank):
    distributed.start(CPU)
    cfg = load(Config, None, BF16)
    learner, images = build(cfg, CPU), fixed_batch()[:, rank::2]
    for done in (0, 1):
        step(learner, Batch((images,), None, []), done, 3)
    with Listening() as listening:
        step(learner, Batch((images,), None, []), 2, 3)
    events = [(str(each.dtype), each.numbers, each.group, each.bytes) for each in listening.heard]
    return events, sum(value.numel() for value in learner.model.online.parameters())


def test_f_gradients_and_norms_talk_in_groups_of_their_own(tmp_path):
    for events, parameters in both(heard, tmp_path):
        shares = [event for event in events if event[0] == "torch.bfloat16"]
        half = [event for event in events if event[:2] == ("torch.float32", 16 * 17 // 2)]
        norms = [event for event in events if event not in shares + half]
        assert sum(count for _, count, *_ in shares) == parameters and len(half) == 1
        (of_gradients,), (of_f,), (of_norms,) = ({group for *_, group, _ in some} for some in (shares, half, norms))
        assert len({of_gradients, of_f, of_norms}) == 3
        assert sum(size for *_, size in events) == sum(each.bytes for each in step_cost(None, BF16).sent(2))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], torch.bfloat16),
        (["run.precision=fp16"], torch.float32),
        (["run.precision=fp32"], torch.float32),
        (["run.precision=fp32", "run.gradient_dtype=bf16"], torch.bfloat16),
        (["run.gradient_dtype=fp32"], torch.float32),
    ],
)
def test_a_bf16_run_sends_its_gradients_in_bf16_unless_told_otherwise(words, expected):
    assert wire(load(Config, None, words).run) == expected


def test_most_gradients_of_a_bf16_run_are_bf16_before_they_are_sent():
    """Of every weight of a convolution or a product; those of norms and of biases are in float32."""
    learner = build(load(Config, None, BF16), CPU)
    step(learner, Batch((fixed_batch(),), None, []), 0, 3)
    for name, value in learner.model.online.named_parameters():
        if value.dim() > 1:
            assert torch.equal(value.grad, value.grad.bfloat16().float()), name
