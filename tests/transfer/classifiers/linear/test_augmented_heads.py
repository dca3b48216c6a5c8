"""The papers' linear protocols: heads on a frozen trunk under augmented images; and their presets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.painted import paint_both
from helpers.repository import ROOT
from transfer.classifiers.linear import augmented_heads
from transfer.classifiers.linear.head_options import Head
from transfer.datasets.labelled import open_labelled
from transfer.evaluate import choose
from transfer.features.extract import extract
from transfer.options import Common

CPU = torch.device("cpu")
PRESETS = ROOT / "configs" / "linear"
COMMON = Common(image_size=8, resize=8, batch_size=16, workers=0)


def trunk_of_colours():
    """Rows of 3 channels: mean colours behind a norm that must stay as it is."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_labelled(paint_both(tmp_path_factory.mktemp("place") / "colours", train=6, val=4))


def run(data, options, trunk=None):
    return augmented_heads.train_and_score(trunk or trunk_of_colours(), 3, data, options, 0.2, COMMON, CPU)


def test_the_trunk_stays_frozen_and_colours_are_learnt(data, capsys):
    trunk = trunk_of_colours()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    options = Head(lrs=[1.0], weight_decays=[0.0], epochs=20, batch_size=9, reference_batch=9)
    outcome = run(data, options, trunk)
    assert outcome.metrics["top1"] == 100 and outcome.details["trained_on"] == 18
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    assert "lr 1 (1) at batch 9" in capsys.readouterr().out


def test_one_epoch_is_one_step_on_the_rows_of_the_crops(data):
    """Whole images, so that crops do not change the mean colour by more than the resizing does."""
    options = Head(lrs=[0.5], weight_decays=[0.0], epochs=1, batch_size=18, reference_batch=18, min_scale=1.0)
    outcome = run(data, options)
    train = extract(trunk_of_colours(), data.train, 8, 8, 16, 0, CPU)
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.01, generator=torch.Generator().manual_seed(0)), layer.bias.zero_()
    assert outcome.details["last_loss"] == pytest.approx(
        functional.cross_entropy(layer(train.rows), train.labels).item(), abs=1e-3
    )


def test_a_grid_is_chosen_on_a_slice_that_is_not_trained_on(data):
    options = Head(lrs=[1e-6, 1.0], weight_decays=[0.0], epochs=20, batch_size=9, reference_batch=9)
    outcome = run(data, options)
    assert outcome.details["trained_on"] == 15 and outcome.details["lr_used"] == 1.0
    assert outcome.details["held_out_top1"]["lr 1, wd 0"] == 100 and outcome.metrics["top1"] == 100


# optimiser, lrs, weight decays, batch of those lrs, batch, epochs, schedule, Nesterov
PUBLISHED = {
    "official": ("lars", [0.1], [0.0], 256, 4096, 90, "cosine", False),
    "simsiam_sgd": ("sgd", [30.0], [0.0], 256, 256, 90, "cosine", False),
    "moco": ("sgd", [30.0], [0.0], 256, 256, 100, "step", False),
    "byol": ("sgd", [0.4, 0.3, 0.2, 0.1, 0.05], [0.0], 1024, 1024, 80, "cosine", True),
    "vicreg": ("sgd", [0.02], [1e-6], 256, 256, 100, "cosine", False),
    "dino": ("sgd", [0.001], [0.0], 256, 1024, 100, "cosine", False),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_hold_the_published_values(name):
    chosen = choose("linear", PRESETS / f"{name}.yaml", [])
    head = chosen.own.head
    assert chosen.own.probe == "augmented" and chosen.common.image_size == 224
    values = (head.optimiser, head.lrs, head.weight_decays, head.reference_batch, head.batch_size, head.epochs)
    assert (*values, head.schedule, head.nesterov) == PUBLISHED[name]
    assert (head.momentum, head.min_scale, head.milestones, head.gamma) == (0.9, 0.08, [60, 80], 0.1)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_loads_and_opens_with_its_command_cost_and_expectation(path):
    choose("linear", path, [])
    comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert path.read_text().startswith("#")
    assert all(word in comment for word in ("Command:", "Cost:", "Expect:", "Source:", f"configs/linear/{path.name}"))
