"""Norms of gradients and weights, and the distance of the target, are those of flat vectors, whatever scaled them."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from helpers.tiny_runs import TINY, configure, fixed_batch, write_images
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build
from pretrain.engine.quality.norms import norms
from pretrain.models import siamese
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.step import step
from pretrain.train import train


def small_trunk(arch, zero_init_residual, channels=3):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), ViewBatchNorm(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8


def stepped(monkeypatch, *words):
    monkeypatch.setattr(siamese, "build_trunk", small_trunk)
    cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words])
    learner = build(cfg, torch.device("cpu"))
    for done in (1, 2):
        step(learner, Batch((fixed_batch(),), None, []), done, 9)
    return learner


def flat(tensors):
    return torch.cat([one.detach().double().flatten() for one in tensors])


def test_they_are_those_of_all_parameters_as_one_vector(monkeypatch):
    learner = stepped(monkeypatch, "method.name=byol")  # whose predictor learns too
    told = norms(learner.model, learner.form, True)
    online, target = (list(one.parameters()) for one in (learner.model.online, learner.model.target))
    gradient = flat(one.grad for one in [*online, *learner.form.parameters()])
    assert len(gradient) > len(flat(online))
    assert told["gradient_norm"].item() == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert told["weight_norm"].item() == pytest.approx(flat(online).norm().item(), rel=1e-5)
    distance = (flat(target) - flat(online)).norm() / flat(online).norm()
    assert told["target_distance"].item() == pytest.approx(distance.item(), rel=1e-5) and distance > 0
    assert "target_distance" not in norms(learner.model, learner.form, False)


@pytest.mark.parametrize("optimiser", ["sgd", "lars"])
def test_the_scale_of_fp16_is_not_in_the_gradients_norm(monkeypatch, optimiser):
    """fp16's scale is 65536; what it rounds is far less."""
    words = [f"optim.optimiser={optimiser}", "optim.base_lr=0.01"]
    plain, scaled = (stepped(monkeypatch, *words, f"run.precision={kind}") for kind in ("fp32", "fp16"))
    assert scaled.scaler.get_scale() > 1000
    first, second = (norms(one.model, one.form, True)["gradient_norm"].item() for one in (plain, scaled))
    assert second == pytest.approx(first, rel=0.1)


def test_a_run_logs_them(tmp_path):
    (tmp_path / "images").mkdir()
    words = ["optim.epochs=1", "optim.warmup_epochs=0", "run.log_every=2"]
    train(configure(write_images(tmp_path / "images"), tmp_path / "run", *words))
    (line,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert line["gradient_norm"] > 0 and line["weight_norm"] > 10 and 0 < line["target_distance"] < 0.1
