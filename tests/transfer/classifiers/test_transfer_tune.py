"""Fine-tuning for transfer: what is chosen on validation, what the last training learns from, and several classes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.painted import paint
from pretrain.augment.normalisation import normalise
from pretrain.data.sources import open_source
from pretrain.models.pixels import pixels_of
from pretrain.runtime.errors import UserError
from transfer.classifiers import finetune
from transfer.classifiers.finetune_options import FineTune
from transfer.classifiers.transfer_tune import Grid, Trainer, slow_norms, tune_and_score
from transfer.datasets.labelled import Labelled
from transfer.datasets.samplers import EpochBatches
from transfer.options import Common

CPU = torch.device("cpu")
COMMON = Common(image_size=16, batch_size=8, workers=0)
BASE = FineTune(min_scale=0.5, nesterov=True, schedule="constant")


def small_trunk():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("painted")
    train, val = (open_source(paint(root / part, 8, seed=seed)) for part, seed in (("train", 1), ("val", 2)))
    return Labelled("painted", train, val, metric="mean per class", chosen_on=tuple(range(0, 24, 2)))


def trainer(data):
    return Trainer(small_trunk, 6, data, COMMON, CPU)


def test_the_best_rate_on_validation_is_trained_on_everything(data):
    grid = Grid([1e-5, 0.1], [0.0, 1e-4], 6, 0.2, BASE)
    tuned = tune_and_score(trainer(data), grid)
    details = tuned.swept.details
    held_out = details["held_out"]
    assert len(held_out) == 4 and details["chosen_on"] == 12
    assert held_out[f"{details['learning_rate']:g}, {details['decay']:g}"] == max(held_out.values())
    assert details["learning_rate"] == 0.1 and tuned.swept.metrics["mean per class"] > 50
    alone = tune_and_score(trainer(data), Grid([details["learning_rate"]], [details["decay"]], 6, 0.2, BASE))
    assert np.allclose(alone.swept.scores, tuned.swept.scores) and alone.swept.details["held_out"] == {}
    # the same training by the evaluator of few labels: 6 steps of 24 images in batches of 8 are 2 epochs
    options = FineTune(**vars(BASE) | {"lr_trunk": 0.1, "lr_head": 0.1, "reference_batch": 8, "epochs": 2})
    options.weight_decay = details["decay"] / 0.1
    again = finetune.finetune_and_score(small_trunk(), 6, data.train, data.val, options, COMMON, CPU)
    assert again.metrics["top1"] == pytest.approx(alone.swept.metrics["top1"])
    assert tuned.counts == {"train": 24, "val": 24, "skipped": 0}


def test_rates_that_diverge_are_passed_over_and_all_of_them_refused(data):
    grid = Grid([1e30, 0.1], [0.0], 3, 0.2, BASE)
    assert tune_and_score(trainer(data), grid).swept.details["learning_rate"] == 0.1
    with pytest.raises(UserError, match="every learning rate diverged"):
        tune_and_score(trainer(data), Grid([1e30, 1e31], [0.0], 3, 0.2, BASE))


def test_several_classes_an_image_are_learnt_by_their_marks(data):
    """The colour, and a class that half of the images show at random, which cannot be learnt."""
    labels = np.array(list(data.train.labels))
    draw = np.random.default_rng(0)
    marks = np.stack([labels == 0, labels == 1, labels == 2, draw.random(24) < 0.5], 1).astype(np.int8)
    marks[3, 0] = -1
    sources = [source.select(range(24)) for source in (data.train, data.val)]
    sources = [type(one)(one.root, one.paths, tuple(range(24)), ("a", "b", "c", "d")) for one in sources]
    several = Labelled("marked", *sources, (marks, marks), metric="mAP 11-point", chosen_on=tuple(range(0, 24, 2)))
    tuned = tune_and_score(trainer(several), Grid([0.3], [0.0], 30, 0.2, BASE))
    assert tuned.swept.truth.shape == tuned.swept.scores.shape == (24, 4)
    assert tuned.swept.metrics["mAP 11-point"] > 70 and next(iter(tuned.swept.metrics)) == "mAP 11-point"


def test_the_loss_of_several_classes_is_the_sum_of_their_own_without_what_is_not_judged():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    marks = torch.tensor([[1, 0, -1], [0, 0, 1], [-1, -1, -1], [1, 1, 1], [0, -1, 0]], dtype=torch.int8)
    expected = sum(
        functional.softplus(-scores[i, j] if marks[i, j] == 1 else scores[i, j])
        for i in range(5)
        for j in range(3)
        if marks[i, j] >= 0
    )
    assert finetune.cross_entropy(scores, marks).item() == pytest.approx(expected.item() / 5)


@pytest.mark.parametrize("steps", [2, 4])  # an epoch has 3
def test_a_training_has_the_steps_that_were_asked_for_and_its_rate_falls_with_each(data, steps):
    """Beside a plain loop of torch's own SGD and cosine over the same batches."""
    options = Grid([0.1], [1e-3], steps, 0.2, replace(BASE, schedule="cosine")).options(0.1, 1e-3, 24, 8)
    trained = trainer(data).train(data.train, options, steps)
    plain = finetune.add_head(small_trunk(), 6, len(data.train.classes), COMMON.seed).train()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    endless = EpochBatches(24, 8, 9, COMMON.seed)
    batches = itertools.islice(finetune.training_batches(data.train, endless, 0.5, COMMON, CPU), steps)
    for images, indices, _ in batches:
        scores = plain(normalise(images, pixels_of(plain)))
        loss = functional.cross_entropy(scores, torch.tensor(data.train.labels)[indices])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        falling.step()
    assert trained[0][1].num_batches_tracked == steps
    for name, weight in plain.state_dict().items():
        if "running" not in name:  # SimCLR's statistics are slower
            assert torch.allclose(trained.state_dict()[name], weight, atol=1e-5), name


@pytest.mark.parametrize(("steps", "momentum"), [(20, 0.1), (100, 0.1), (1000, 0.01)])
def test_norms_remember_as_simclr_lets_them(steps, momentum):
    """max(1 - 10/s, 0.9) is what stays of the old statistics; torch's momentum is what comes of the new ones."""
    trunk = small_trunk()
    slow_norms(trunk, steps)
    assert trunk[1].momentum == pytest.approx(1 - max(1 - 10 / steps, 0.9)) == pytest.approx(momentum)
