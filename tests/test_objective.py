"""The gradients, against autograd of the paper's loss and against what the official code gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import remembered_samples, unigrad_loss
from torch.nn.functional import normalize

from pretrain.errors import UserError
from pretrain.gradients import attract, repel_correlation
from pretrain.memory import FeatureCorrelation
from pretrain.methods import build
from pretrain.objective import objective, surrogate

GOLDEN = Path(__file__).parent / "data" / "official_unigrad.npz"


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def gradient(form, online, targets):
    online = online.clone().requires_grad_()
    sum(objective(form, online, targets).values()).backward()
    return online.grad


@pytest.mark.parametrize(("n", "width", "steps"), [(3, 5, 1), (6, 4, 3), (5, 8, 2)])
def test_unigrad_gradient_is_autograd_of_equation_15(n, width, steps):
    form = build("unigrad", width=width, balance=7.0, rho=0.6).double()
    history = [unit(2, n, width, seed=step) for step in range(steps)]
    for targets in history:
        online = unit(2, n, width, seed=99)
        ours = gradient(form, online, targets)
    samples = remembered_samples([targets.flatten(0, 1) for targets in history], 0.6)
    free = online.clone().requires_grad_()
    loss = (unigrad_loss(free[0], targets[1], samples, 7.0) + unigrad_loss(free[1], targets[0], samples, 7.0)) / 2
    loss.backward()
    torch.testing.assert_close(ours, free.grad, rtol=0, atol=1e-12)


def test_three_steps_equal_the_official_code():
    golden = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN).items()}
    form = build("unigrad", width=golden["0/z1"].shape[1], balance=100.0, rho=0.99).double()
    for step in range(3):
        online = torch.stack([golden[f"{step}/z1"], golden[f"{step}/z2"]]).requires_grad_()
        targets = torch.stack([golden[f"{step}/z1m"], golden[f"{step}/z2m"]])
        terms = objective(form, online, targets)
        sum(terms.values()).backward()
        expected = torch.stack([golden[f"{step}/g1"], golden[f"{step}/g2"]])
        torch.testing.assert_close(online.grad, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(sum(terms.values()).detach(), golden[f"{step}/loss"], rtol=0, atol=1e-10)
        torch.testing.assert_close(form.correlation.corr, golden[f"{step}/F"], rtol=0, atol=1e-10)


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
    form = build("unigrad", width=6, balance=2.5, rho=0.9).double()
    online, targets = unit(2, 4, 6, seed=3), unit(2, 4, 6, seed=4)
    terms = objective(form, online, targets)
    cosine = (
        torch.cosine_similarity(online[0], targets[1]) + torch.cosine_similarity(online[1], targets[0])
    ).mean() / 2
    squared = (online.flatten(0, 1) @ targets.flatten(0, 1).T).square().mean()
    torch.testing.assert_close(-terms["positive"], cosine)
    torch.testing.assert_close(terms["negative"] / 2.5, squared)


def test_correlation_stays_float32_under_autocast():
    memory = FeatureCorrelation(8, 0.99)
    with torch.autocast("cpu", torch.bfloat16):
        memory.update(unit(16, 8).float())
    rows = unit(16, 8)
    assert memory.corr.dtype == torch.float32
    torch.testing.assert_close(memory.corr.double(), rows.T @ rows / 16, rtol=0, atol=1e-7)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_of_equal_orthogonal_directions_is_their_number(rank):
    memory = FeatureCorrelation(6, 0.9).double()
    memory.update(torch.eye(6, dtype=torch.float64)[:rank])
    assert memory.effective_rank() == pytest.approx(rank, rel=1e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="method.name=unigrat"):
        build("unigrat")
