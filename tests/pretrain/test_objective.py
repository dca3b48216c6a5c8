"""From gradients to an objective: the surrogate, views and mixing as matrices, what is refused, and what F keeps."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch.nn.functional import normalize
from torchvision.transforms import v2

from helpers.oracles.unigrad import unigrad_loss
from pretrain.engine.monitor.diagnostics import effective_rank
from pretrain.gradients import attract, repel_correlation
from pretrain.methods import ROWS, build, keywords
from pretrain.methods.memory import FeatureCorrelation
from pretrain.objective import objective, pairing, surrogate
from pretrain.runtime.errors import UserError


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def gradient(form, online, targets):
    online = online.clone().requires_grad_()
    sum(objective(form, online, targets).values()).backward()
    return online.grad


def test_surrogate_passes_the_given_gradient_divided_by_rows():
    rows, given = unit(4, 6), torch.randn(4, 6, dtype=torch.float64)
    first, second = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    surrogate(first, given).backward()
    second.backward(given / 4)
    torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_normalise_and_surrogate_pass_gradcheck_of_equation_15():
    """d/dz of the loss behind the normalisation: numerical differences against the injected gradient."""
    raw = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    u2, samples = unit(3, 4, seed=1), unit(5, 4, seed=2)
    corr = samples.T @ samples / 5

    class Injected(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            ctx.save_for_backward(rows)
            return unigrad_loss(rows, u2, [(0.2, sample) for sample in samples], 9.0)

        @staticmethod
        def backward(ctx, upstream):
            (rows,) = ctx.saved_tensors
            free = rows.clone().requires_grad_()
            with torch.enable_grad():
                surrogate(free, attract(u2) + 9.0 * repel_correlation(free, corr)).backward()
            return upstream * free.grad

    assert torch.autograd.gradcheck(lambda z: Injected.apply(normalize(z, dim=-1)), (raw,))


def test_anything_radial_changes_nothing_behind_the_normalisation():
    raw, given = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    grads = []
    for radial in (0.0, 3.7):
        z = raw.clone().requires_grad_()
        u = normalize(z, dim=-1)
        surrogate(u, given + radial * u).backward()
        grads.append(z.grad)
    torch.testing.assert_close(*grads, rtol=0, atol=1e-14)


def test_reported_terms_are_the_cosines_they_are_said_to_be():
    form = build("unigrad", balance=2.5, rho=0.9)
    online, targets = unit(2, 4, 6, seed=3), unit(2, 4, 6, seed=4)
    terms = objective(form, online, targets)
    cosine = (
        torch.cosine_similarity(online[0], targets[1]) + torch.cosine_similarity(online[1], targets[0])
    ).mean() / 2
    squared = (online.flatten(0, 1) @ targets.flatten(0, 1).T).square().mean()
    torch.testing.assert_close(-terms["positive"], cosine)
    torch.testing.assert_close(terms["negative"] / 2.5, squared)


def test_correlation_stays_float32_under_autocast():
    memory = FeatureCorrelation(0.99)
    with torch.autocast("cpu", torch.bfloat16):
        memory.update(unit(16, 8).float())
    rows = unit(16, 8)
    assert memory.corr.dtype == torch.float32
    torch.testing.assert_close(memory.corr.double(), rows.T @ rows / 16, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [5, 256, 300, 700])
def test_correlation_is_exactly_symmetric_and_the_moving_average(width, dtype):
    """Widths below, at and above a block of the update, the last one cut short."""
    memory, expected = FeatureCorrelation(0.9), None
    for step in range(3):
        rows = unit(40, width, seed=step).to(dtype)
        memory.update(rows)
        batch = rows.T @ rows / 40
        expected = batch if expected is None else 0.9 * expected + 0.1 * batch
    assert torch.equal(memory.corr, memory.corr.T)
    torch.testing.assert_close(memory.corr, expected)


@pytest.mark.parametrize("name", ["unigrad", "directpred"])
def test_samples_prepared_before_give_the_very_same_step(name):
    """Bit for bit, memory and gradients, over three steps."""
    plain, early = build(name, rho=0.9), build(name, rho=0.9)
    for seed in range(3):
        online, targets = unit(2, 6, 5, seed=seed).requires_grad_(), unit(2, 6, 5, seed=seed + 9)
        early.prepare(targets)
        together = [
            torch.autograd.grad(sum(objective(form, online, targets).values()), online) for form in (plain, early)
        ]
        assert torch.equal(*(gradient for (gradient,) in together))
    for one, other in zip(plain.buffers(), early.buffers(), strict=True):
        assert torch.equal(one, other)


def test_rows_that_were_begun_are_taken_in_once_and_no_others():
    memory = FeatureCorrelation(0.9)
    memory.begin(unit(4, 3))
    with pytest.raises(AssertionError, match="never taken in"):
        memory.begin(unit(4, 3))
    with pytest.raises(AssertionError, match="other rows"):
        memory.update(unit(4, 3, seed=1))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_of_equal_orthogonal_directions_is_their_number(rank):
    memory = FeatureCorrelation(0.9)
    memory.update(torch.eye(6, dtype=torch.float64)[:rank])
    assert effective_rank(memory.corr) == pytest.approx(rank, rel=1e-6)


def test_multi_crop_and_cutmix_are_the_papers_explicit_formulas():
    """Section 5.2: global views cross, local views see the mean of both; mixed images mix the positive gradients."""
    n, shares = 4, torch.tensor([0.3, 1.0, 0.6, 0.8], dtype=torch.float64)
    online, targets = unit(5, n, 6, seed=0).requires_grad_(), unit(2, n, 6, seed=1)
    partner = torch.tensor([2, 0, 3, 1])
    mixing = torch.diag(shares)
    for image in range(n):
        mixing[image, partner[image]] += 1 - shares[image]
    form = build("unigrad", balance=4.0)
    terms = objective(form, online, targets, mixing=mixing)
    sum(terms.values()).backward()
    samples = targets.flatten(0, 1)
    for view in range(5):
        for image in range(n):
            drawn = [targets[1 - view]] if view < 2 else [targets[0], targets[1]]
            goals = [sum(target[which] for target in drawn) / len(drawn) for which in (image, partner[image])]
            u1 = online[view, image].detach()
            positive = -(shares[image] * goals[0] + (1 - shares[image]) * goals[1])
            negative = sum((u1 @ v) * v for v in samples) / len(samples)
            expected = (positive + 4.0 * negative) / (5 * n)
            torch.testing.assert_close(online.grad[view, image], expected, rtol=0, atol=1e-15)


def test_torchvisions_cutmix_of_image_numbers_is_a_mixing_matrix():
    torch.manual_seed(0)
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 32, 32)  # every pixel says which image it is of
    mixed, mixing = v2.CutMix(num_classes=6)(images, torch.arange(6))
    for image, row in zip(mixed, mixing, strict=True):
        shares = torch.stack([(image == number).float().mean() for number in range(6)])
        torch.testing.assert_close(row, shares)


def test_pairing_is_a_mean_over_other_global_views():
    expected = [[0, 1], [1, 0], [0.5, 0.5], [0.5, 0.5]]
    torch.testing.assert_close(pairing(4, 2), torch.tensor(expected))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_whether_three_global_views_are_a_mean_over_pairs(name):
    """Each view's gradient for the mean of two targets, and the mean of its gradients for each of them."""
    online, targets, found = unit(3, 6, 8, seed=1), unit(3, 6, 8, seed=2), []
    settings = {"hidden": 8} if "hidden" in keywords(name) else {}
    torch.manual_seed(0)
    first = build(name, width=8, **settings, **({"queue_size": 36} if name == "moco" else {})).double()
    for pairs in (pairing(3, 3), torch.eye(3).roll(1, 1), torch.eye(3).roll(2, 1)):
        rows = online.clone().requires_grad_()
        sum(objective(copy.deepcopy(first), rows, targets, views=pairs).values()).backward()
        found.append(rows.grad)
    alike = torch.allclose(found[0], (found[1] + found[2]) / 2, rtol=1e-9, atol=1e-12)
    assert alike == first.linear_in_targets


BAD = {
    "channels": (unit(2, 4, 6), unit(2, 4, 5), {}, "online rows (2, 4, 6) and target rows (2, 4, 5) do not fit"),
    "rows": (unit(2, 4, 6), unit(2, 3, 6), {}, "online rows (2, 4, 6) and target rows (2, 3, 6) do not fit"),
    "no views": (unit(4, 6), unit(4, 6), {}, "online rows (4, 6)"),
    "views": (unit(2, 4, 6), unit(2, 4, 6), {"views": torch.eye(3)}, "views has shape (3, 3), but (2, 2)"),
    "mixing": (unit(2, 4, 6), unit(2, 4, 6), {"mixing": torch.eye(2)}, "mixing has shape (2, 2), but (4, 4)"),
    "samples": (unit(2, 4, 6), unit(2, 4, 6), {"negative_targets": unit(2, 3, 6)}, "negative_targets has shape"),
    "one target": (unit(2, 4, 6), unit(1, 4, 6), {}, "one target view leaves the first online view nothing"),
    "long online rows": (3 * unit(2, 4, 6), unit(2, 4, 6), {}, "online rows are not unit (a norm is off by 2)"),
    "long target rows": (unit(2, 4, 6), 2 * unit(2, 4, 6), {}, "target rows are not unit (a norm is off by 1)"),
}


@pytest.mark.parametrize("case", BAD)
def test_rows_that_do_not_fit_are_told_in_one_sentence(case):
    online, targets, others, told = BAD[case]
    with pytest.raises(UserError, match=re.escape(told)):
        objective(build("unigrad"), online, targets, **others)


def test_rows_are_looked_at_once():
    """Reading norms again would make every step wait for the device."""
    form = build("unigrad")
    objective(form, unit(2, 4, 6), unit(2, 4, 6))
    long = objective(form, 3 * unit(2, 4, 6), unit(2, 4, 6))
    assert long["positive"] == pytest.approx(-3 * (unit(2, 4, 6)[0] * unit(2, 4, 6)[1]).sum(-1).mean().item())
