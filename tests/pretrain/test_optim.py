"""LARS against its definition written with loops, and which parameters it leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.tiny_runs import assert_same
from pretrain.optim.base import Part, set_rates
from pretrain.optim.build import build
from pretrain.optim.exclusions import EXCLUSIONS
from pretrain.optim.optimisers import NAMES
from pretrain.optim.optimisers.lars import LARS
from pretrain.runtime.errors import UserError


def by_definition(parameter, gradient, momentum, *, lr, decay, adapt, trust=1e-3, beta=0.9):
    """One step on flat lists of numbers: the new parameter and momentum."""
    p, g = parameter.flatten().tolist(), gradient.flatten().tolist()
    d = [b + decay * a for a, b in zip(p, g, strict=True)]
    if adapt:
        size, length = sum(a * a for a in p) ** 0.5, sum(a * a for a in d) ** 0.5
        ratio = trust * size / length if size > 0 and length > 0 else 1.0
        d = [ratio * a for a in d]
    m = [beta * a + b for a, b in zip(momentum.flatten().tolist(), d, strict=True)]
    new = [a - lr * b for a, b in zip(p, m, strict=True)]
    return (torch.tensor(values, dtype=torch.float64).view_as(parameter) for values in (new, m))


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5)).double()
    layers[3].weight.data.zero_()  # a norm of 0: no ratio
    return layers


def test_lars_equals_its_definition_over_steps():
    model = network()
    optimizer = build("lars", [Part(model.named_parameters())], momentum=0.9, weight_decay=1e-2, bias_lr_share=0.25)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    momenta = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(4):
        lr = 0.3 / (step + 1)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_share"]
        optimizer.zero_grad()
        images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        model(images).square().sum().add(model(images).sum()).backward()
        for name, parameter in model.named_parameters():
            weights = parameter.ndim > 1
            settings = {"lr": lr * (1 if weights else 0.25), "decay": 1e-2 if weights else 0.0, "adapt": weights}
            expected[name], momenta[name] = by_definition(expected[name], parameter.grad, momenta[name], **settings)
        optimizer.step()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-14)


class NoHostReads(TorchDispatchMode):
    """Refuses what makes the host wait for a device."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        assert function is not torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


def seeded(like, seed):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


def momenta_of(optimizer):
    """Of all parameters; 0 where none has been taken in."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [optimizer.state[one].get("momentum", torch.zeros_like(one)) for one in parameters]


@pytest.mark.parametrize("overflowing", [(), (0,), (1, 3)])
def test_under_a_scaler_lars_does_its_steps_but_those_that_overflow_without_asking_the_host(overflowing):
    model, plain = network(), network()
    ours, theirs = (
        build("lars", [Part(one.named_parameters())], 0.9, 1e-2, bias_lr_share=1.0) for one in (model, plain)
    )
    for group in (*ours.param_groups, *theirs.param_groups):
        group["lr"] = 0.3
    scaler = torch.amp.GradScaler("cpu", init_scale=1000.0, growth_interval=2)  # no power of two: rounding shows
    for step in range(5):
        loss = scaler.scale(sum((value * seeded(value, step)).sum() for value in model.parameters()))
        ours.zero_grad()
        loss.backward()
        if step in overflowing:
            model[0].weight.grad[0, 0, 0, 0] = torch.inf
        before = copy.deepcopy((list(model.parameters()), momenta_of(ours)))
        with NoHostReads():
            scaler.step(ours)
        scaler.update()
        if step in overflowing:
            assert_same((list(model.parameters()), momenta_of(ours)), before)
            continue
        for value in plain.parameters():
            value.grad = seeded(value, step)
        theirs.step()
        for one, other in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_lars_resumes_from_its_state():
    runs = []
    for interrupted in (False, True):
        model = network()
        optimizer = LARS([{"params": list(model.parameters())}], lr=0.1)
        for step in range(4):
            if interrupted and step == 2:
                saved = optimizer.state_dict()
                optimizer = LARS([{"params": list(model.parameters())}], lr=0.1)
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            model(torch.ones(2, 3, 4, 4, dtype=torch.float64)).sum().backward()
            optimizer.step()
        runs.append([parameter.detach().clone() for parameter in model.parameters()])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


def test_sgd_decays_all_parameters_as_the_official_code_does():
    ours, theirs = network(), network()
    built = build("sgd", [Part(ours.named_parameters())], momentum=0.9, weight_decay=0.1, bias_lr_share=1.0)
    for group in built.param_groups:
        group["lr"] = 0.2 * group["lr_share"]
    reference = torch.optim.SGD(theirs.parameters(), 0.2, 0.9, weight_decay=0.1, foreach=False, fused=False)
    for step in range(3):
        for model, optimizer in ((ours, built), (theirs, reference)):
            images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_biases_and_norms_have_their_own_rate(name):
    optimizer = build(name, [Part(network().named_parameters())], momentum=0.9, weight_decay=1e-4, bias_lr_share=1 / 6)
    weights, vectors = optimizer.param_groups
    assert all(parameter.ndim > 1 for parameter in weights["params"]) and weights["lr_share"] == 1
    assert all(parameter.ndim == 1 for parameter in vectors["params"]) and vectors["lr_share"] == 1 / 6


def adam_by_definition(p, g, state, *, lr, decay, step, adapt, betas=(0.9, 0.98), epsilon=1e-5):
    """One step of AdamW, or of LAMB where `adapt` is a bool (You et al., 2020, Algorithm 2), on flat lists."""
    m = [betas[0] * a + (1 - betas[0]) * b for a, b in zip(state[0], g, strict=True)]
    v = [betas[1] * a + (1 - betas[1]) * b * b for a, b in zip(state[1], g, strict=True)]
    tall, wide = (1 - beta**step for beta in betas)
    r = [a / tall / ((b / wide) ** 0.5 + epsilon) for a, b in zip(m, v, strict=True)]
    d = [a + decay * b for a, b in zip(r, p, strict=True)]
    size, length = sum(a * a for a in p) ** 0.5, sum(a * a for a in d) ** 0.5
    ratio = size / length if adapt and size > 0 and length > 0 else 1.0
    return [a - lr * ratio * b for a, b in zip(p, d, strict=True)], (m, v)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_the_family_of_adam_equals_its_definition_over_steps(name):
    model = network()
    options = {"beta2": 0.98, "epsilon": 1e-5}
    optimizer = build(name, [Part(model.named_parameters())], 0.9, 1e-2, bias_lr_share=0.25, options=options)
    values = {key: one.flatten().tolist() for key, one in model.named_parameters()}
    states = {key: ([0.0] * len(one),) * 2 for key, one in values.items()}
    for step in range(4):
        set_rates(optimizer, lr := 0.03 / (step + 1))
        optimizer.zero_grad()
        images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        model(images).square().sum().add(model(images).sum()).backward()
        for key, one in model.named_parameters():
            weights = one.ndim > 1
            told = {"lr": lr * (1 if weights else 0.25), "decay": 1e-2 * weights, "adapt": weights and name == "lamb"}
            grad = one.grad.flatten().tolist()
            values[key], states[key] = adam_by_definition(values[key], grad, states[key], step=step + 1, **told)
        optimizer.step()
        for key, one in model.named_parameters():
            assert one.flatten().tolist() == pytest.approx(values[key], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("exclude", EXCLUSIONS)
def test_a_rule_of_exclusion_says_what_decays_and_what_adapts(exclude):
    told = {"cls_token": (1, 1, 2), "norm.weight": (2,), "head.bias": (3,), "head.weight": (3, 2)}
    named = {name: nn.Parameter(torch.ones(*shape)) for name, shape in told.items()}
    groups = build("lars", [Part(named.items())], 0.9, 1e-2, 1.0, exclude).param_groups
    found = {}
    for group in groups:
        for name, one in named.items():
            if any(one is other for other in group["params"]):
                found[name] = group["weight_decay"] > 0, group["adapt"]
    kept, left = (True, True), (False, False)
    vectors = {"none": kept, "vectors_from_decay": (False, True)}.get(exclude, left)
    token = left if exclude == "vectors_and_tokens" else kept
    assert found == {"cls_token": token, "norm.weight": vectors, "head.bias": vectors, "head.weight": kept}


def test_a_part_may_stay_at_a_constant_rate_beside_the_schedule():
    first, second = network(), network()
    parts = [Part(first.named_parameters()), Part(second.named_parameters(), share=0.5, constant=0.2)]
    optimizer = build("sgd", parts, 0.9, 1e-4, bias_lr_share=1.0)
    set_rates(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01, 0.1, 0.1]


def test_an_option_of_another_optimiser_is_refused():
    with pytest.raises(UserError, match="optim.optimiser=sgd: there is no option 'beta2'"):
        build("sgd", [Part(network().named_parameters())], 0.9, 1e-4, 1.0, options={"beta2": 0.9})
