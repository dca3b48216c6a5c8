"""transfer.classifiers.finetune: the order of images, the schedules, one step, and the presets of configs/finetune."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional

from helpers.painted import paint
from helpers.repository import ROOT
from pretrain.data.sources import ImageSource, open_source
from pretrain.runtime.errors import UserError
from transfer.classifiers import finetune
from transfer.classifiers.finetune_options import FineTune
from transfer.classifiers.schedules import schedule
from transfer.datasets.samplers import EpochBatches
from transfer.evaluate import choose
from transfer.options import Common

CPU = torch.device("cpu")
PRESETS = ROOT / "configs" / "finetune"
SMALL = FineTune(reference_batch=8, epochs=3, min_scale=0.5)
COMMON = Common(image_size=16, batch_size=8, workers=0)


def small_trunk():
    """A trunk with batch norm whose rows have 6 channels."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("images", "batch_size", "ranks", "sizes"),
    [(10, 4, 1, [4, 4, 2]), (9, 4, 1, [4, 4]), (8, 8, 1, [8]), (11, 4, 2, [4, 4, 2]), (13, 6, 3, [6, 6])],
)
def test_every_epoch_is_a_fresh_permutation_of_batches_that_ranks_share_equally(images, batch_size, ranks, sizes):
    batches = list(EpochBatches(images, batch_size, 3, 0, ranks))
    assert len(batches) == len(EpochBatches(images, batch_size, 3, 0, ranks)) == 3 * len(sizes)
    fewer = EpochBatches(images, batch_size, 3, 0, ranks, steps=len(batches) - 1)
    assert list(fewer) == batches[:-1] and len(fewer) == len(batches) - 1
    assert fewer.images_in_all == sum(map(len, batches[:-1]))
    orders = []
    for epoch in range(3):
        mine = batches[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        assert [len(batch) for batch in mine] == sizes
        keys = [key for batch in mine for key in batch]
        assert {number for number, _ in keys} == {epoch}
        assert max(Counter(keys).values()) == 1
        orders.append([index for _, index in keys])
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize(
    ("options", "oracle"),
    [
        (FineTune(epochs=20), lambda sgd: torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 20)),
        (
            FineTune(epochs=20, schedule="step", milestones=[12, 16], gamma=0.2),
            lambda sgd: torch.optim.lr_scheduler.MultiStepLR(sgd, [12, 16], 0.2),
        ),
        (FineTune(epochs=20, schedule="constant"), lambda sgd: torch.optim.lr_scheduler.LambdaLR(sgd, lambda _: 1.0)),
    ],
    ids=["cosine", "step", "constant"],
)
def test_schedule_is_torchs_stepped_once_an_epoch(options, oracle):
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, factor = oracle(sgd), schedule(options)
    for epoch in range(20):
        assert factor(epoch / 20) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-12)
        sgd.step()
        scheduler.step()


UNIFORM = ((120, 60, 200), (30, 200, 90), (250, 10, 10), (0, 90, 130))


def uniform_source(tmp_path):
    """Four pictures of one colour each, in two classes: every crop and flip of one is alike."""
    paths = tuple(tmp_path / f"{number}.png" for number in range(4))
    for path, colour in zip(paths, UNIFORM, strict=True):
        Image.new("RGB", (20, 20), colour).save(path)
    return ImageSource(tmp_path, paths, (0, 1, 0, 1), ("a", "b"))


def test_one_epoch_is_one_step_of_sgd_with_an_lr_each_scaled_to_the_batch(tmp_path, capsys):
    source = uniform_source(tmp_path)
    options = dataclasses.replace(SMALL, epochs=1, reference_batch=16, lr_trunk=0.4, lr_head=2.0)
    common = dataclasses.replace(COMMON, batch_size=64)
    trunk = small_trunk()
    outcome = finetune.finetune_and_score(trunk, 6, source, source, options, common, CPU)

    expected = small_trunk()
    network = finetune.add_head(expected, 6, 2, common.seed).train()
    images = torch.tensor(UNIFORM)[:, :, None, None].expand(4, 3, 16, 16) / 255
    images = torchvision.transforms.functional.normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    loss = functional.cross_entropy(network(images), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter -= 0.4 * 4 / 16 * parameter.grad
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(trunk.parameters(), expected.parameters(), strict=True))
    assert outcome.details["last_loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert outcome.details["batch_size_used"] == 4
    assert outcome.details["lr_head_used"] == pytest.approx(2.0 * 4 / 16)
    said = capsys.readouterr().out
    assert "batch 4, the whole set, instead of 64" in said and "lr 0.1 for the trunk, 0.5 for the head" in said


def test_batch_norm_follows_the_new_images(tmp_path):
    source = open_source(paint(tmp_path / "set", 4))
    trunk = small_trunk()
    before = trunk[1].running_mean.clone()
    finetune.finetune_and_score(trunk, 6, source, source, SMALL, COMMON, CPU)
    assert (trunk[1].running_mean - before).abs().max() > 0.01
    assert trunk[1].num_batches_tracked == 6  # two batches an epoch; scoring val leaves the statistics alone


@pytest.mark.slow
def test_learns_colours_and_repeats_itself_with_other_workers(tmp_path):
    train = open_source(paint(tmp_path / "train", 6, seed=1))
    val = open_source(paint(tmp_path / "val", 10, seed=2))
    options = dataclasses.replace(SMALL, epochs=20, lr_trunk=0.1, lr_head=1.0)
    first, second = (
        finetune.finetune_and_score(
            small_trunk(), 6, train, val, options, dataclasses.replace(COMMON, workers=workers), CPU
        )
        for workers in (0, 1)
    )
    assert first.metrics["top1"] > 90
    assert first == second


@pytest.mark.slow
def test_a_sweep_takes_the_lr_that_does_best_on_other_images(tmp_path):
    train, rest, val = (open_source(paint(tmp_path / str(seed), 6, seed=seed)) for seed in (1, 2, 3))
    options = dataclasses.replace(SMALL, epochs=20, sweep=[1e-6, 0.5], sweep_images=9)
    swept = finetune.finetune_and_score(small_trunk(), 6, train, val, options, COMMON, CPU, rest)
    alone = finetune.finetune_and_score(
        small_trunk(), 6, train, val, dataclasses.replace(SMALL, epochs=20, lr_trunk=0.5, lr_head=0.5), COMMON, CPU
    )
    assert swept.details["lr_head_used"] == 0.5 and swept.details["chosen_on"] == 9
    assert swept.metrics == alone.metrics and set(swept.details["held_out_top1"]) == {"1e-06", "0.5"}


def test_a_corrupt_training_image_changes_nothing_but_the_count(tmp_path, capsys):
    root = paint(tmp_path / "set", 4)
    (root / "n01_red" / "n01_red_0.png").write_bytes(b"no image")
    source = open_source(root)
    outcome = finetune.finetune_and_score(small_trunk(), 6, source, source, SMALL, COMMON, CPU)
    assert (outcome.skipped_train, outcome.skipped_val) == (1, 1)
    assert capsys.readouterr().err.count("n01_red_0.png") == 2  # once as a training image, once as a val image
    without = finetune.finetune_and_score(small_trunk(), 6, source.select(range(1, 12)), source, SMALL, COMMON, CPU)
    assert (outcome.metrics, outcome.details) == (without.metrics, without.details)


def test_a_class_whose_images_are_all_corrupt_is_named_before_training(tmp_path):
    root = paint(tmp_path / "set", 2)
    for path in (root / "n02_green").iterdir():
        path.write_bytes(b"no image")
    source = open_source(root)
    with pytest.raises(UserError, match="no labelled image, such as n02_green"):
        finetune.finetune_and_score(small_trunk(), 6, source, source, SMALL, COMMON, CPU)


def test_an_image_that_is_lost_during_training_stops_it(tmp_path, monkeypatch):
    source = open_source(paint(tmp_path / "set", 4))
    look = finetune.readable

    def lose(*given):
        found = look(*given)
        source.paths[0].unlink()
        return found

    monkeypatch.setattr(finetune, "readable", lose)
    with pytest.raises(UserError, match="could be read before cannot any more: .*n01_red_0.png"):
        finetune.finetune_and_score(small_trunk(), 6, source, source, SMALL, COMMON, CPU)


def test_diverging_fine_tuning_stops_with_advice(tmp_path):
    source = open_source(paint(tmp_path / "set", 4))
    with pytest.raises(UserError, match="lower lr_trunk and lr_head"):
        options = dataclasses.replace(SMALL, epochs=5, lr_trunk=1e30, lr_head=1e30)
        finetune.finetune_and_score(small_trunk(), 6, source, source, options, COMMON, CPU)


def test_a_sweep_goes_on_past_an_lr_that_diverges(tmp_path):
    source = open_source(paint(tmp_path / "set", 4))
    options = dataclasses.replace(SMALL, epochs=3, sweep=[1e30, 0.01])
    found = finetune.finetune_and_score(small_trunk(), 6, source, source, options, COMMON, CPU, source).details
    assert found["held_out_top1"]["1e+30"] is None and found["lr_trunk_used"] < 1
    with pytest.raises(UserError, match=r"every lr of sweep=\[1e\+30\] diverged"):
        finetune.finetune_and_score(
            small_trunk(), 6, source, source, dataclasses.replace(options, sweep=[1e30]), COMMON, CPU, source
        )


@pytest.mark.parametrize(
    "wrong",
    ["schedule=linear", "precision=fp8", "epochs=0", "lr_head=0.0", "batch_size=1", "milestones=[25] schedule=step"],
)
def test_impossible_options_are_named(wrong):
    with pytest.raises(UserError, match=wrong.partition("=")[0]):
        choose("semi", None, wrong.split())


# lr trunk / lr head / epochs / batch / schedule / weight decay of each method's own script or paper
PUBLISHED = {
    "simclr_1percent": (0.8, 0.8, 60, 4096, "constant", 0.0),
    "simclr_10percent": (0.8, 0.8, 30, 4096, "constant", 0.0),
    "twist_1percent": (0.04, 0.2, 20, 256, "cosine", 0.0),
    "twist_10percent": (0.02, 0.2, 20, 256, "cosine", 0.0),
    "swav_1percent": (0.02, 5.0, 20, 256, "step", 0.0),
    "swav_10percent": (0.01, 0.2, 20, 256, "step", 0.0),
    "barlow_twins": (0.005, 0.5, 20, 256, "cosine", 0.0),
    "vicreg_1percent": (0.03, 0.08, 20, 256, "cosine", 0.0),
    "vicreg_10percent": (0.01, 0.1, 20, 256, "cosine", 0.0),
}


@pytest.mark.parametrize("percent", [1, 10])
def test_byols_presets_sweep_five_lrs_on_other_images(percent):
    chosen = choose("semi", PRESETS / f"byol_{percent}percent.yaml", [])
    preset = chosen.own
    assert (preset.sweep, preset.sweep_images) == ([0.005, 0.01, 0.02, 0.05, 0.1], 10009)
    assert (chosen.common.batch_size, preset.epochs, preset.nesterov, preset.momentum) == (1024, 50, True, 0.9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_hold_the_published_values(name):
    chosen = choose("semi", PRESETS / f"{name}.yaml", [])
    preset, batch_size = chosen.own, chosen.common.batch_size
    values = (preset.lr_trunk, preset.lr_head, preset.epochs, batch_size, preset.schedule, preset.weight_decay)
    assert values == PUBLISHED[name]
    assert preset.reference_batch == batch_size
    assert (preset.milestones, preset.gamma) == ([12, 16], 0.2)
    assert preset.nesterov == name.startswith("simclr")


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_loads_and_opens_with_its_command_cost_and_expectation(path):
    choose("semi", path, [])
    comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert path.read_text().startswith("#")
    assert all(word in comment for word in ("Command:", "Cost:", "Expect:", f"configs/finetune/{path.name}"))
