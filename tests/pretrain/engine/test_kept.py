"""Exports that stay: one every so many epochs and the best, each the trunk of its step, however the run was stopped."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from helpers.tiny_runs import assert_same, configure, write_images
from pretrain.engine import checkpoint
from pretrain.engine.quality.kept import best_so_far
from pretrain.engine.validate import ready
from pretrain.runtime.errors import UserError
from pretrain.train import train

WORDS = ["run.keep_every_epochs=2", "run.keep_best=effective_rank", "run.measure_every_epochs=0.5"]
WORDS += ["optim.epochs=4", "optim.batch_size=10", "run.checkpoint_every_epochs=0.5"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(configure(images, run_dir, *WORDS, "run.keep_checkpoints=9"))
    return run_dir


def read(run_dir, name):
    return torch.load(run_dir / "export" / name, weights_only=True)


def trunk_after(run_dir, step):
    """What the checkpoint of a step holds of the online trunk."""
    model = torch.load(checkpoint.path_of(run_dir, step), weights_only=True)["model"]
    start = "online.trunk."
    return {name.removeprefix(start): one for name, one in model.items() if name.startswith(start)}


def measured(run_dir):
    """Effective rank by step, as metrics.jsonl has it."""
    lines = [json.loads(text) for text in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["effective_rank"] for line in lines}


def test_every_second_epoch_and_the_best_stay_and_are_the_trunks_of_their_steps(whole):
    names = {path.name for path in (whole / "export").iterdir()}
    assert names == {"trunk.pth", "initial.pth", "epoch_0002.pth", "epoch_0004.pth", "best.pth"}
    for epoch in (2, 4):
        kept = read(whole, f"epoch_{epoch:04d}.pth")
        assert (kept["meta"]["epoch"], kept["meta"]["step"]) == (epoch, 2 * epoch)
        assert_same(kept["state_dict"], trunk_after(whole, 2 * epoch))
    best, ranks = read(whole, "best.pth"), measured(whole)
    step = max(ranks, key=ranks.get)
    assert best["meta"] | {"step": step, "epoch": step / 2, "best_by": "effective_rank"} == best["meta"]
    assert best["meta"]["best"] == ranks[step]
    assert_same(best["state_dict"], trunk_after(whole, step))


def test_a_run_that_was_killed_keeps_the_same_and_never_fewer(images, whole, tmp_path):
    run_dir = tmp_path / "run"
    train(configure(images, run_dir, *WORDS, "run.keep_checkpoints=9"))
    for step in range(4, 9):  # as if it had been killed after step 3
        checkpoint.path_of(run_dir, step).unlink()
    (run_dir / "export" / "epoch_0004.pth").unlink()
    (run_dir / "export" / "epoch_0002.pth").write_bytes(b"PK cut short")  # what no atomic write leaves
    train(configure(images, run_dir, *WORDS, "run.keep_checkpoints=1"))
    assert [checkpoint.step_of(path) for path in checkpoint.list_checkpoints(run_dir)] == [8]
    for name in ("epoch_0002.pth", "epoch_0004.pth", "best.pth"):
        assert_same(read(run_dir, name)["state_dict"], read(whole, name)["state_dict"])


def test_a_run_that_goes_on_knows_the_best_of_before(images, whole, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(whole, run_dir)
    best = read(run_dir, "best.pth")
    best["meta"] |= {"best": 1e9, "step": 1}
    torch.save(best, run_dir / "export" / "best.pth")
    train(configure(images, run_dir, *WORDS, "optim.epochs=5", "run.keep_checkpoints=1"))
    assert read(run_dir, "best.pth")["meta"] == best["meta"] and read(run_dir, "trunk.pth")["meta"]["step"] == 10


def test_without_the_options_nothing_else_is_exported(images, tmp_path):
    train(configure(images, tmp_path, "optim.epochs=1", "optim.warmup_epochs=0", "run.log_every=9"))
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"trunk.pth", "initial.pth"}


@pytest.mark.parametrize("content", [None, b"PK cut short", {"meta": {"best_by": "knn_top1", "best": 3.0}}, ["meta"]])
def test_no_best_of_this_metric_is_less_than_any(tmp_path, content):
    (tmp_path / "export").mkdir()
    if isinstance(content, bytes):
        (tmp_path / "export" / "best.pth").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "export" / "best.pth")
    assert best_so_far(tmp_path, "effective_rank") == -float("inf")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("run.keep_best=knn_top1", "add data.val=FOLDER"),
        ("run.keep_best=knn", "choose one of knn_top1, linear_top1, effective_rank"),
        ("run.keep_every_epochs=-1", "at least 0"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_the_run(tmp_path, word, told):
    with pytest.raises(UserError, match=told):
        ready(configure("d", tmp_path, word))
