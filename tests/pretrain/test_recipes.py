"""configs/pretrain/recipes/: what other methods' papers say of their ResNet-50, written down once more by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.repository import CONFIGS
from helpers.textured import texture
from pretrain.augment.multicrop import MultiCrop
from pretrain.config import Config, load
from pretrain.data.loader import StepSampler, collate
from pretrain.engine.learner import build
from pretrain.engine.validate import ready
from pretrain.methods import build as build_form
from pretrain.methods import keywords
from pretrain.objective import objective
from pretrain.optim.base import set_rates
from pretrain.step import step as take_step

FOLDER = CONFIGS / "pretrain" / "recipes"
IMAGES = 1_281_167  # of ImageNet's training set
BN, RELU = "BN", "ReLU"


def cosine(step, steps, peak, end=0.0, warm=0):
    """Linear from 0 over `warm` steps, then half a cosine to `end`."""
    if step < warm:
        return peak * step / warm
    share = (step - warm) / (steps - warm)
    return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2


# steps an epoch and epochs; learning rate after so many steps; target momentum at the first and the last step;
# layers of projector and predictor in their order
PUBLISHED = {
    "moco_v2_r50_200ep": {
        "steps": (5004, 200),
        "lr": lambda step, steps: cosine(step, steps, 0.03),
        "target": (0.999, 0.999),
        "projector": [(2048, 2048), RELU, (2048, 128)],
    },
    "simclr_r50_1000ep": {
        "steps": (312, 1000),
        "lr": lambda step, steps: cosine(step, steps, 4.8, warm=3120),
        "projector": [(2048, 2048), BN, RELU, (2048, 128), BN],
    },
    "byol_r50_1000ep": {
        "steps": (312, 1000),
        "lr": lambda step, steps: cosine(step, steps, 3.2, warm=3120),
        "target": (0.996, 1.0),
        "projector": [(2048, 4096), BN, RELU, (4096, 256)],
        "predictor": [(256, 4096), BN, RELU, (4096, 256)],
    },
    "simsiam_r50_100ep": {
        "steps": (2502, 100),
        "lr": lambda step, steps: cosine(step, steps, 0.1),
        "projector": [(2048, 2048), BN, RELU, (2048, 2048), BN, RELU, (2048, 2048), BN],
        "predictor": [(2048, 512), BN, RELU, (512, 2048)],
    },
    "barlow_twins_r50_1000ep": {
        "steps": (625, 1000),
        "lr": lambda step, steps: cosine(step, steps, 1.6, 0.0016, warm=6250),
        "projector": [(2048, 8192), BN, RELU, (8192, 8192), BN, RELU, (8192, 8192)],
    },
    "vicreg_r50_1000ep": {
        "steps": (625, 1000),
        "lr": lambda step, steps: cosine(step, steps, 1.6, 0.0016, warm=6250),
        "projector": [(2048, 8192), BN, RELU, (8192, 8192), BN, RELU, (8192, 8192)],
    },
}


def recipe(name):
    words = ["run_dir=r", "data.root=d", "run.device=cpu", "run.compile=false"]
    return load(Config, FOLDER / f"{name}.yaml", words)


def told(layers):
    kinds = {nn.Linear: lambda one: (one.in_features, one.out_features), nn.ReLU: lambda _: RELU}
    return [kinds.get(type(layer), lambda _: BN)(layer) for layer in layers]


@pytest.fixture(scope="module")
def learners():
    with torch.device("meta"):  # shapes without storage
        return {name: build(recipe(name), torch.device("meta")) for name in PUBLISHED}


def test_every_recipe_is_here():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_steps_rates_and_shapes(name, learners):
    cfg, said, learner = recipe(name), PUBLISHED[name], learners[name]
    ready(cfg)
    sampler = StepSampler(IMAGES, cfg.optim.batch_size, cfg.optim.epochs, seed=0)
    assert (sampler.steps_per_epoch, cfg.optim.epochs) == said["steps"]
    steps = sampler.steps
    for step in (0, 1, sampler.steps_per_epoch, 10 * sampler.steps_per_epoch, steps // 2, steps - 1):
        assert learner.lr(step / steps) == pytest.approx(said["lr"](step, steps), rel=1e-6, abs=1e-9), step
    if "momentum" in learner.targets:
        assert (learner.target_momentum(0.0), learner.target_momentum(1.0)) == pytest.approx(said["target"])
    else:
        assert "target" not in said
    assert told(learner.model.online.projector) == said["projector"]
    assert told(getattr(learner.form, "predictor", [])) == said.get("predictor", [])


def test_the_predictor_of_simsiam_keeps_its_rate_and_nothing_else_does(learners):
    learner = learners["simsiam_r50_100ep"]
    set_rates(learner.optimizer, 0.02)
    own = {id(one) for one in learner.form.parameters()}
    for group in learner.optimizer.param_groups:
        assert all((id(one) in own) == (group["lr"] == 0.1) for one in group["params"]) and group["lr"] in (0.1, 0.02)


def test_what_papers_leave_out_of_decay_is_left_out(learners):
    for name, learner in learners.items():
        decays = name.startswith(("moco", "simsiam"))  # their optimisers decay everything
        for group in learner.optimizer.param_groups:
            vectors = [one.ndim <= 1 for one in group["params"]]
            assert not vectors or (group["weight_decay"] > 0) == (decays or not vectors[0])


# --- the published losses, naively, and how many times the gradient here they are ---------------------------------


def nt_xent(z, _, predict):
    rows = functional.normalize(z.flatten(0, 1), dim=-1)
    logits = (rows @ rows.T / 0.1).masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(rows)).roll(len(rows) // 2))


def byol(z, targets, predict):
    rows, goals = functional.normalize(predict(z), dim=-1), functional.normalize(targets, dim=-1)
    return (2 - 2 * (rows * goals.flip(0)).sum(-1)).sum(0).mean()


def simsiam(z, _, predict):
    rows, goals = functional.normalize(predict(z), dim=-1), functional.normalize(z.detach(), dim=-1)
    return -(rows * goals.flip(0)).sum(-1).mean(1).sum() / 2


def barlow_twins(z, _, predict):
    first, second = ((one - one.mean(0)) / (one.var(0, correction=0) + 1e-5).sqrt() for one in z)
    matrix = first.T @ second / len(first)
    off = matrix - torch.diag(matrix.diagonal())
    return (matrix.diagonal() - 1).square().sum() + 5e-3 * off.square().sum()


def vicreg(z, _, predict):
    loss = 25 * functional.mse_loss(*z)
    for one in z:
        centred = one - one.mean(0)
        covariance = centred.T @ centred / (len(one) - 1)
        loss = loss + 25 * functional.relu(1 - covariance.diagonal().sqrt()).mean() / 2
        loss = loss + (covariance - torch.diag(covariance.diagonal())).square().sum() / one.shape[1]
    return loss


LOSSES = {  # of each recipe, and how many times the gradient of the objective its own is, at C channels
    "simclr_r50_1000ep": (nt_xent, lambda width: 1),
    "byol_r50_1000ep": (byol, lambda width: 4),
    "simsiam_r50_100ep": (simsiam, lambda width: 1),
    "barlow_twins_r50_1000ep": (barlow_twins, lambda width: 2),
    "vicreg_r50_1000ep": (vicreg, lambda width: 50 / width),
}


def normalised(form, z):
    if form.normalisation == "l2":
        return functional.normalize(z, dim=-1)
    if form.normalisation == "none":
        return z
    return torch.stack([(one - one.mean(0)) / (one.var(0, correction=0) + 1e-5).sqrt() for one in z])


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_the_published_loss_and_the_rate_of_biases_makes_up_for_its_scale(name):
    """Under LARS a gradient's scale matters to what does not adapt: the biases and norms."""
    cfg, (loss, times), width = recipe(name), LOSSES[name], 8
    torch.manual_seed(0)
    known = set(keywords(cfg.method.name)) - {"width", "balance", "variance", "hidden"}
    options = {key: getattr(cfg.method, key) for key in known}
    if name.startswith("vicreg"):  # its code's covariance is over N - 1
        options |= {"balance": cfg.method.balance * (24 / 23) ** 2, "variance": width / 2}
    form = build_form(cfg.method.name, width=width, **options).double()
    z, targets = (0.6 * torch.randn(2, 24, width, dtype=torch.float64) for _ in range(2))
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    predictor = copy.deepcopy(form).predictor if hasattr(form, "predictor") else None
    rows = normalised(form, ours)
    goals = normalised(form, targets) if name.startswith("byol") else rows.detach()
    sum(objective(form, rows, goals).values()).backward()

    def predict(both):
        """The predictor reads unit rows, as row c states it; each view has statistics of its own."""
        return torch.stack([predictor(functional.normalize(one, dim=-1)) for one in both])

    loss(theirs, targets, predict).backward()
    torch.testing.assert_close(times(width) * ours.grad, theirs.grad, rtol=1e-6, atol=1e-10)
    if cfg.optim.optimiser == "lars":
        published = {"barlow_twins_r50_1000ep": 0.0048}.get(name, cfg.optim.base_lr)
        rate = cfg.optim.bias_base_lr if cfg.optim.bias_base_lr is not None else cfg.optim.base_lr
        assert rate == pytest.approx(published * times(cfg.model.projector_width), rel=1e-12)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_network_takes_steps_by_the_recipe_on_its_own_views(name, views):
    if name.startswith("barlow") and views > 2:
        return  # refused: its rows pair two views
    words = ["model.arch=resnet18", "model.projector_width=8", "views.size=32", "optim.batch_size=8", "data.workers=0"]
    words += ["run_dir=r", "data.root=d", "run.device=cpu", "run.precision=fp32", f"views.global_count={views}"]
    words += ["model.projector_hidden=16"] + {"moco": ["method.queue_size=96"], "byol": ["method.hidden=16"]}.get(
        name.partition("_")[0], []
    )
    cfg = load(Config, FOLDER / f"{name}.yaml", words)
    ready(cfg)
    crop = MultiCrop(**asdict(cfg.views) | {"photometry": "device"})
    pictures = [np.array(texture(48, 40, seed)) for seed in range(8)]
    learner = build(cfg, torch.device("cpu"))
    before = learner.model.online.trunk.conv1.weight.detach().clone()
    for done in (500, 501):  # of 1000, after the warm-up
        batch = collate([(crop(pixels, 0, done, index), [], 0) for index, pixels in enumerate(pictures)])
        stepped = take_step(learner, batch, done, 1000)
    after = learner.model.online.trunk.conv1.weight.detach()
    assert all(value.isfinite().all() for value in stepped.values.values()) and after.isfinite().all()
    assert not torch.equal(before, after) and stepped.online.shape == (views, 8, 8)
