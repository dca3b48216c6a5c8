"""Runs resume bit for bit, leave what identifies them, stop when they go wrong, and refuse bad input in a sentence."""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image

from helpers import tool_process
from helpers.tiny_runs import (
    ARCH,
    ONE_THREAD,
    RESNET18,
    assert_same,
    command,
    configure,
    curves,
    free_port,
    last_checkpoint,
    write_images,
)
from helpers.tracker_files import board_curve
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.history import read_history
from pretrain.engine.learner import build
from pretrain.step import step
from pretrain.train import train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(configure(images, run_dir))
    return run_dir


def test_a_run_leaves_everything_that_identifies_it(uninterrupted):
    export = torch.load(uninterrupted / "export" / "trunk.pth", weights_only=True)
    initial = torch.load(uninterrupted / "export" / "initial.pth", weights_only=True)
    assert (export["arch"], export["meta"]["step"], initial["meta"]["step"]) == (ARCH, 6, 0)
    assert export["state_dict"].keys() == initial["state_dict"].keys()
    assert not torch.equal(export["state_dict"]["conv1.0.weight"], initial["state_dict"]["conv1.0.weight"])
    assert [line["step"] for line in curves(uninterrupted)] == [1, 2, 3, 4, 5, 6]
    with Image.open(uninterrupted / "views.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 2 * 34 + 2)
    assert "commit" in (uninterrupted / "command.txt").read_text()
    assert load(Config, uninterrupted / "config.yaml").optim.base_lr == 1.0


def test_a_run_folder_whose_name_is_not_utf_8_has_all_but_tensorboard(images, tmp_path):
    run_dir = tmp_path / os.fsdecode(b"r\xe9")
    done = tool_process.run(command(images, run_dir, "optim.epochs=1", "optim.warmup_epochs=0"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the tracker tensorboard has failed (it takes UTF-8 names only)") == 1
    assert [line["step"] for line in curves(run_dir)] == [1, 2]
    assert torch.load(run_dir / "export" / "trunk.pth", weights_only=True)["meta"]["step"] == 2


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_run_in_a_folder_of_an_odd_name_goes_on_whatever_its_caller_prints_to(
    images, tmp_path, monkeypatch, encoding
):
    """Tools make their streams lenient; who calls `train` need not have."""
    run_dir = tmp_path / os.fsdecode(b"r\xe9 \xc3\xbc")
    written = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", written)
    for epochs in (1, 2, 2):
        train(configure(images, run_dir, f"optim.epochs={epochs}", "optim.warmup_epochs=0"))
    written.flush()
    told = written.buffer.getvalue().decode(encoding)
    assert told.count("the tracker tensorboard has failed (it takes UTF-8 names only)") == 2
    assert "nothing left to do: " in told and ("r\\xe9 ü" if encoding == "utf-8" else "r\\xe9 \\xfc") in told


def test_export_is_a_torchvision_state_dict_without_its_classifier(images, tmp_path):
    import torchvision

    trunk = torchvision.models.resnet18()
    export = train(configure(images, tmp_path / "run", RESNET18, "optim.epochs=1", "optim.warmup_epochs=0"))
    state = torch.load(export, weights_only=True)["state_dict"]
    told = trunk.load_state_dict(state, strict=False)
    assert sorted(told.missing_keys) == ["fc.bias", "fc.weight"] and not told.unexpected_keys


@pytest.mark.parametrize("killed_at", [4, 6], ids=["mid-epoch", "while the last checkpoint is written"])
def test_resume_equals_uninterrupted_after_kill_9_with_other_workers(images, uninterrupted, tmp_path, killed_at):
    run_dir = tmp_path / "run"
    with tool_process.started(command(images, run_dir, "data.workers=1"), ONE_THREAD) as tool:
        tool.wait_for_line(f"step {killed_at}/")  # the checkpoint of step 3, in the middle of an epoch, is whole
        os.kill(tool.pid, signal.SIGKILL)
    train(configure(images, run_dir))
    whole, resumed = last_checkpoint(uninterrupted), last_checkpoint(run_dir)
    for part in ("step", "model", "form", "health", "optimizer", "scaler"):
        assert_same(whole[part], resumed[part])
    assert curves(run_dir) == curves(uninterrupted)


def test_a_truncated_newest_checkpoint_and_damaged_lines_are_passed_over(images, uninterrupted, tmp_path, capsys):
    run_dir = tmp_path / "run"
    train(configure(images, run_dir))
    newest = sorted((run_dir / "checkpoints").glob("step_*.pth"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    for name in ("metrics.jsonl", "history.jsonl"):
        with open(run_dir / name, "ab") as file:
            file.write(b'{"step": "x"}\n[1]\n{"step"}\n\xff\n')
    train(configure(images, run_dir))
    assert f"passed over a checkpoint: {newest}" in capsys.readouterr().out
    assert_same(last_checkpoint(uninterrupted)["model"], last_checkpoint(run_dir)["model"])
    assert curves(run_dir) == curves(uninterrupted)
    assert [entry["step"] for entry in read_history(run_dir)] == [0, "x", 3]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_keeps_f_in_float32(images, tmp_path, precision):
    train(configure(images, tmp_path, f"run.precision={precision}", "optim.epochs=2", "optim.base_lr=0.1"))
    state = last_checkpoint(tmp_path)
    assert state["form"]["correlation.corr"].dtype == torch.float32
    assert all(value.isfinite().all() for value in state["model"].values())
    assert bool(state["scaler"]) == (precision == "fp16")


def test_the_tool_under_torchrun_gives_what_one_process_gives(images, uninterrupted, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    told = subprocess.run(
        [*launch, *command(images, tmp_path / "run")[1:]], capture_output=True, text=True, env=ONE_THREAD
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("step 6/6") == told.stdout.count("trunk: ") == 1
    assert board_curve(tmp_path / "run" / "tensorboard", "positive") == [*range(1, 7)]  # told by rank 0 alone
    assert len([*(tmp_path / "run" / "tensorboard").iterdir()]) == 1
    one, two = last_checkpoint(uninterrupted), last_checkpoint(tmp_path / "run")
    assert_same(two["config"]["optim"], one["config"]["optim"])
    first, second = curves(uninterrupted)[0], curves(tmp_path / "run")[0]
    del first["negative_cosine"], second["negative_cosine"]  # of the pairs that a rank holds
    assert second == pytest.approx(first, rel=1e-3)


BAD = {
    "misspelt option": ["optim.epoch=2"],
    "ill-typed option": ["optim.epochs=soon"],
    "missing folder": ["data.root=/nowhere/at/all"],
    "empty folder": ["data.root={empty}"],
    "fewer images than a batch": ["optim.batch_size=64"],
    "unknown row": ["method.name=unigrat"],
    "an option of another row": ["method.temperature=0.2"],
    "rho out of range": ["method.rho=1"],
    "eps out of range": ["method.name=directpred", "method.eps=0"],
    "a queue that batches do not fill": ["method.name=moco", "method.queue_size=24"],
    "unknown target branch": ["method.positive_target=momentums"],
    "another architecture": ["run_dir={whole}", "model.projector_width=8"],
    "only damaged checkpoints": ["run_dir={damaged}"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(images, uninterrupted, tmp_path, case):
    places = {"empty": tmp_path / "empty", "whole": uninterrupted, "damaged": tmp_path / "damaged"}
    places["empty"].mkdir()
    (places["damaged"] / "checkpoints").mkdir(parents=True)
    (places["damaged"] / "checkpoints" / "step_00000004.pth").write_bytes(b"PK cut short")
    before = copy.copy(sorted(uninterrupted.rglob("*")))
    told = tool_process.run(command(images, tmp_path / "run", *[text.format(**places) for text in BAD[case]]))
    assert told.returncode == 2, told.stderr
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in told.stderr
    assert sorted(uninterrupted.rglob("*")) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_it_came_from(images, tmp_path):
    """The kept state, stepped with the kept images, gives the same loss that is not finite."""
    run_dir = tmp_path / "run"
    words = ["optim.base_lr=1e30", "optim.warmup_epochs=0", "run.log_every=3", "run.checkpoint_every_epochs=0.5"]
    told = tool_process.run(command(images, run_dir, *words))
    assert told.returncode == 2 and "is not finite from step" in told.stderr and "Traceback" not in told.stderr
    (folder,) = (run_dir / "alarm").iterdir()
    offending = int(told.stderr.split("from step ")[1].split()[0])
    kept = torch.load(folder / "batch_rank_0.pth", weights_only=True)
    before = torch.load(folder / "before.pth", weights_only=True)
    assert kept["step"] == offending and before["step"] == offending - 1
    cfg = configure(images, run_dir, *words)
    learner = build(cfg, torch.device("cpu"))
    for name, part in learner.parts().items():
        part.load_state_dict(before[name])
    assert not step(learner, Batch(kept["crops"], kept["draws"], []), offending - 1, 6).values["positive"].isfinite()


def test_collapsed_features_stop_the_run_unless_told_to_go_on(images, tmp_path, capsys):
    """Without a negative gradient every image gets the same row."""
    words = ["method.balance=0", "method.positive_target=stop_gradient", "optim.base_lr=3", "optim.epochs=15"]
    words.append("run.log_every=2")
    told = tool_process.run(command(images, tmp_path / "run", *words))
    assert told.returncode == 2 and "the features collapsed at step" in told.stderr and "Traceback" not in told.stderr
    (folder,) = (tmp_path / "run" / "alarm").iterdir()
    assert {path.name for path in folder.iterdir()} == {"batch_rank_0.pth", "before.pth", "after.pth"}
    train(configure(images, tmp_path / "run", *words, "run.stop_on_collapse=false"))
    assert "warning: the features collapsed" in capsys.readouterr().out


def test_a_corrupt_image_among_good_ones_is_counted_and_named_once(images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "05.png").write_bytes(b"\x89PNG and nothing more")
    told = tool_process.run(command(folder, tmp_path / "run", "optim.batch_size=20", "data.workers=1"))
    assert told.returncode == 0, told.stderr
    assert told.stderr.count("05.png") == 1
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["images_skipped"] == 1


def test_a_run_with_cutmix_lars_and_a_batch_in_parts_resumes_bit_for_bit(images, tmp_path):
    words = ["mixing.cutmix_alpha=1", "optim.optimiser=lars", "optim.bias_base_lr=0.2", "optim.accumulate=2"]
    train(configure(images, tmp_path / "whole", *words))
    interrupted = tmp_path / "interrupted"
    train(configure(images, interrupted, *words))
    for path in sorted((interrupted / "checkpoints").glob("step_*.pth"))[-1:]:
        path.unlink()  # as if it had been killed after step 3
    train(configure(images, interrupted, *words))
    for part in ("model", "form", "health", "optimizer"):
        assert_same(last_checkpoint(tmp_path / "whole")[part], last_checkpoint(interrupted)[part])
