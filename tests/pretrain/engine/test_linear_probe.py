"""The linear head along a run: the trunk never feels it, it equals torch's own layers, and goes on bit for bit."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.tiny_runs import TINY, assert_same, configure, fixed_batch, last_checkpoint, tiny_branch, write_images
from helpers.two_ranks import both
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.data.sources import open_source
from pretrain.engine import checkpoint
from pretrain.engine.learner import build
from pretrain.engine.quality.linear import RHO, LinearProbe, classes_of
from pretrain.models import siamese
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime import distributed
from pretrain.runtime.devices.compile import compiled
from pretrain.runtime.errors import UserError
from pretrain.step import step
from pretrain.train import train

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, -1, 0])
TRUNK = ("model", "form", "health", "optimizer", "scaler")


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """The twenty pictures, five to a class."""
    flat, root = (tmp_path_factory.mktemp(name) for name in ("flat", "classes"))
    for place, path in enumerate(sorted(write_images(flat).iterdir())):
        folder = root / f"class_{place % 4}"
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return root


def tiny_trunk(arch, zero_init_residual, channels=3):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), ViewBatchNorm(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(siamese, "build_trunk", tiny_trunk)


def one_step(*words, classes=3, labels=LABELS):
    """A learner after one step on this rank's share of fixed images."""
    cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words])
    learner, rank, ranks = build(cfg, CPU, classes), distributed.rank(), distributed.world_size()
    for done in (1, 2):
        batch = Batch((fixed_batch()[:, rank::ranks],), None, [], labels[rank::ranks])
        stepped = step(learner, batch, done, 9)
    return learner, stepped


@pytest.mark.parametrize("words", ["", "optim.accumulate=2", "mixing.cutmix_alpha=1", "run.precision=bf16"])
def test_a_step_leaves_the_same_network_bit_for_bit_with_and_without_the_head(small, words):
    (on, stepped), (off, _) = (one_step(*words.split(), classes=classes) for classes in (3, 0))
    assert "linear" in on.parts() and "linear" not in off.parts() and on.linear.weight.abs().max() > 0
    assert 0 <= stepped.values["linear_running_top1"] <= 100
    for part in TRUNK:
        assert_same(on.parts()[part].state_dict(), off.parts()[part].state_dict())


def test_a_compiled_network_gives_the_same_rows_and_keeps_the_same_features():
    """As float64, by torch's own compiler without its code generator."""
    plain, ours = tiny_branch(), tiny_branch()
    ours.project_keeping = compiled(siamese.project_keeping, "the network", "aot_eager")
    views = torch.rand(2, 5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = plain([views])
    ours.kept = []
    torch.testing.assert_close(ours([views]), rows, rtol=1e-12, atol=1e-12)
    (features,) = ours.kept  # of both views, which pass as one batch on a CPU
    assert features.shape == (2, 5, 4) and not features.requires_grad
    with torch.no_grad():
        expected = plain.trunk(views[1])
    torch.testing.assert_close(features[1], expected, rtol=1e-9, atol=1e-9)


def test_parts_give_the_head_the_features_in_the_order_of_their_labels(monkeypatch):
    """Of a trunk without batch statistics, which differ between parts: its mean colours."""

    def colours(arch, zero_init_residual, channels=3):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3

    monkeypatch.setattr(siamese, "build_trunk", colours)
    whole, parts = (one_step(f"optim.accumulate={count}")[0].linear for count in (1, 2))
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(parts.mean, whole.mean)


def test_the_head_is_that_of_autograd_and_of_adam_on_standardised_features():
    """Three steps, beside an nn.Linear that learns the cross-entropy of the rows that have a label."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = LinearProbe(5, 3, CPU), nn.Linear(5, 3)
    nn.init.zeros_(theirs.weight)
    nn.init.zeros_(theirs.bias)
    adam, seen = torch.optim.Adam(theirs.parameters(), lr=1e-3), []
    for _ in range(3):
        features = torch.randn(2, 8, 5, generator=generator) * torch.arange(1, 6) + 7
        rows, labels = features[:, LABELS >= 0].flatten(0, 1), LABELS[LABELS >= 0].repeat(2)
        if seen:  # a mean over all rows of before, in which a step weighs RHO times as much as the next one
            weights = torch.tensor([RHO ** (len(seen) - 1 - age) for age in range(len(seen))])
            weights = (weights / weights.sum())[:, None]
            mean = (weights * torch.stack([one.mean(0) for one in seen])).sum(0)
            square = (weights * torch.stack([one.square().mean(0) for one in seen])).sum(0)
            logits = theirs((rows - mean) / (square - mean.square() + 1e-5).sqrt())
            adam.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            expected = 100 * (logits.argmax(1) == labels).float().mean()
        told = ours.learn(features, LABELS)["linear_running_top1"]
        if seen:
            adam.step()
            torch.testing.assert_close(told, expected)
        seen.append(rows)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-3, atol=1e-6)


def test_mixed_images_have_mixed_labels():
    """With the shares of a permutation, what is learnt is what permuted labels teach."""
    features = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 0, 7, 2, 4, 6, 5])
    mixed, plain = LinearProbe(5, 3, CPU), LinearProbe(5, 3, CPU)
    for _ in range(2):
        first = mixed.learn(features, LABELS, torch.eye(8)[order].expand(3, -1, -1))
        second = plain.learn(features, LABELS[order])
    assert torch.equal(mixed.weight, plain.weight) and first == second


def test_a_row_that_is_not_finite_spoils_nothing():
    features = torch.ones(2, 8, 5)
    features[0, 3, 2] = math.nan
    head = LinearProbe(5, 3, CPU)
    for _ in range(2):
        head.learn(features, LABELS)
    assert head.weight.isfinite().all() and head.mean.isfinite().all()


def test_it_learns_what_can_be_learnt():
    generator = torch.Generator().manual_seed(0)
    head, centres = LinearProbe(16, 3, CPU), torch.randn(3, 16, generator=generator)
    for _ in range(60):
        head.learn(centres[LABELS] + 3 + 0.1 * torch.randn(2, 8, 16, generator=generator), LABELS)
    assert head.read()["linear_top1"] > 80 and math.isnan(head.read()["linear_top1"])


def head_of_a_rank(rank, words):
    """On a rank, or alone: the head and the network after two steps, with and without the head."""
    distributed.start(CPU)
    siamese.build_trunk = tiny_trunk  # in a process of its own
    on, stepped = one_step(*words)
    off, _ = one_step(*words, classes=0)
    same = all(torch.equal(one, off.model.state_dict()[name]) for name, one in on.model.state_dict().items())
    head = {name: value for name, value in on.linear.state_dict().items() if name != "optimizer"}
    return {"head": head, "same": same, "top1": stepped.values["linear_running_top1"]}


@pytest.mark.slow
def test_two_ranks_hold_the_head_of_one_process_and_the_trunk_of_a_run_without_it(small, tmp_path):
    words = ["run.gradient_dtype=fp32"]
    first, second = both(head_of_a_rank, tmp_path, words)
    alone = head_of_a_rank(0, words)
    assert first["same"] and second["same"] and alone["same"]
    assert_same(first["head"], second["head"])
    assert first["top1"] == second["top1"] == alone["top1"]
    torch.testing.assert_close(first["head"]["mean"], alone["head"]["mean"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(2 * first["head"]["told"], alone["head"]["told"], rtol=1e-6, atol=1e-6)


WORDS = ["run.linear_probe=true", "run.keep_best=linear_top1", "optim.epochs=2", "run.checkpoint_every_epochs=0.5"]


@pytest.fixture(scope="module")
def whole(classes, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(configure(classes, run_dir, *WORDS, "run.keep_checkpoints=9"))
    return run_dir


def test_a_run_logs_the_top1_and_goes_on_bit_for_bit(classes, whole, tmp_path, capsys):
    lines = [json.loads(text) for text in (whole / "metrics.jsonl").read_text().splitlines()]
    running = [line["linear_running_top1"] for line in lines]
    assert [line.get("linear_top1") for line in lines] == [
        None, pytest.approx(sum(running[:2]) / 2), None, pytest.approx(sum(running[2:]) / 2)
    ]  # fmt: skip
    shutil.copytree(whole, tmp_path / "run")
    for done in (2, 3, 4):  # as if it had been killed after step 1, in the middle of a measurement
        checkpoint.path_of(tmp_path / "run", done).unlink()
    train(configure(classes, tmp_path / "run", *WORDS))
    assert_same(last_checkpoint(whole)["linear"], last_checkpoint(tmp_path / "run")["linear"])
    assert "linear top-1 " in capsys.readouterr().out


def test_a_run_goes_on_with_the_head_begun_or_left_out(classes, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    train(configure(classes, tmp_path / "run", "run.linear_probe=false", "optim.epochs=3"))
    assert "linear" not in last_checkpoint(tmp_path / "run")
    train(configure(classes, tmp_path / "run", "run.linear_probe=true", "optim.epochs=4"))
    assert "the linear probe begins anew: step_00000006.pth has none" in capsys.readouterr().out
    assert "linear" in last_checkpoint(tmp_path / "run")


def test_labels_reach_the_step_and_those_of_a_replaced_image_are_its_own(classes, tmp_path):
    from pretrain.augment.multicrop import MultiCrop
    from pretrain.data.loader import ViewDataset, collate
    from pretrain.engine.loading import on_device

    views = asdict(load(Config, None, [*TINY, "run_dir=r", "data.root=d"]).views) | {"photometry": "worker"}
    source = open_source(classes)
    dataset = ViewDataset(source, MultiCrop(**views), 0)
    keys = [(0, index) for index in (7, 19, 0)]
    (batch,) = on_device([collate([dataset[key] for key in keys])], CPU)
    assert batch.labels.tolist() == [source.labels[index] for _, index in keys]
    shutil.copytree(classes, tmp_path / "damaged")
    (sorted((tmp_path / "damaged" / "class_0").iterdir())[-1]).write_bytes(b"no image")
    _, unreadable, label = ViewDataset(open_source(tmp_path / "damaged"), MultiCrop(**views), 0)[0, 4]
    assert len(unreadable) == 1 and label == source.labels[5] != source.labels[4]
    (tmp_path / "flat").mkdir()
    flat = open_source(write_images(tmp_path / "flat"))
    assert collate([ViewDataset(flat, MultiCrop(**views), 0)[0, 1]]).labels.tolist() == [-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run.linear_probe=true"], "of at least two classes"),
        (["run.keep_best=linear_top1"], "add run.linear_probe=true"),
    ],
)
def test_without_labels_it_is_refused_in_a_sentence(tmp_path, words, told):
    with pytest.raises(UserError, match=told):
        classes_of(configure("d", "r", *words), open_source(write_images(tmp_path)))


def test_unset_it_follows_the_images_to_measure_by(classes):
    source = open_source(classes)
    assert classes_of(configure("d", "r"), source) == 0
    assert classes_of(configure("d", "r", "data.val=v"), source) == 4
    assert classes_of(configure("d", "r", "data.val=v", "run.linear_probe=false"), source) == 0
