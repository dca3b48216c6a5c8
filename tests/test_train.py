"""Runs resume bit for bit, ranks together equal one process, and bad input ends before the first step."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from PIL import Image

from pretrain import comm
from pretrain.batchnorm import CrossRankBatchNorm
from pretrain.config import Config, load
from pretrain.train import build, step, train

ROOT = Path(__file__).parents[1]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
TINY = [
    "model.arch=resnet18",
    "model.projector_depth=2",
    "model.projector_width=16",
    "method.balance=0.8",
    "views.size=32",
    "optim.batch_size=8",
    "optim.epochs=3",
    "optim.warmup_epochs=1",
    "optim.base_lr=1.0",
    "run.precision=fp32",
    "run.device=cpu",
    "run.log_every=1",
    "run.checkpoint_every_epochs=1.5",
    "data.workers=0",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(20):
        coarse = Image.fromarray(generator.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    return folder


def configure(images, run_dir, *overrides):
    return load(Config, None, [*TINY, f"data.root={images}", f"run_dir={run_dir}", *overrides])


def command(images, run_dir, *overrides):
    arguments = [*TINY, f"data.root={images}", f"run_dir={run_dir}", *overrides]
    return [sys.executable, str(ROOT / "tools" / "pretrain.py"), *arguments]


def last_checkpoint(run_dir):
    newest = sorted((run_dir / "checkpoints").glob("step_*.pth"))[-1]
    return torch.load(newest, weights_only=True)


def assert_same(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def curves(run_dir):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in ("step", "lr", "positive", "negative", "target_momentum")} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    train(configure(images, run_dir))
    return run_dir


def test_a_run_leaves_everything_that_identifies_it(uninterrupted):
    export = torch.load(uninterrupted / "export" / "trunk.pth", weights_only=True)
    initial = torch.load(uninterrupted / "export" / "initial.pth", weights_only=True)
    assert (export["arch"], export["meta"]["step"], initial["meta"]["step"]) == ("resnet18", 6, 0)
    assert export["state_dict"].keys() == initial["state_dict"].keys()
    assert not torch.equal(export["state_dict"]["conv1.weight"], initial["state_dict"]["conv1.weight"])
    assert [line["step"] for line in curves(uninterrupted)] == [1, 2, 3, 4, 5, 6]
    with Image.open(uninterrupted / "views.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 2 * 34 + 2)
    assert "commit" in (uninterrupted / "command.txt").read_text()
    assert load(Config, uninterrupted / "config.yaml").optim.base_lr == 1.0


def test_export_is_a_torchvision_state_dict_without_its_classifier(uninterrupted):
    import torchvision

    trunk = torchvision.models.resnet18()
    state = torch.load(uninterrupted / "export" / "trunk.pth", weights_only=True)["state_dict"]
    told = trunk.load_state_dict(state, strict=False)
    assert sorted(told.missing_keys) == ["fc.bias", "fc.weight"] and not told.unexpected_keys


@pytest.mark.parametrize("killed_at", [4, 6], ids=["mid-epoch", "while the last checkpoint is written"])
def test_resume_equals_uninterrupted_after_kill_9_with_other_workers(images, uninterrupted, tmp_path, killed_at):
    run_dir = tmp_path / "run"
    with subprocess.Popen(
        command(images, run_dir, "data.workers=1"), stdout=subprocess.PIPE, text=True, env=ONE_THREAD
    ) as process:
        for line in process.stdout:
            if line.startswith(f"step {killed_at}/"):  # the checkpoint of step 3, in the middle of an epoch, is whole
                break
        process.send_signal(signal.SIGKILL)
    train(configure(images, run_dir))
    whole, resumed = last_checkpoint(uninterrupted), last_checkpoint(run_dir)
    for part in ("step", "model", "form", "optimizer", "scaler"):
        assert_same(whole[part], resumed[part])
    assert curves(run_dir) == curves(uninterrupted)


def test_a_truncated_newest_checkpoint_is_passed_over(images, uninterrupted, tmp_path, capsys):
    run_dir = tmp_path / "run"
    train(configure(images, run_dir))
    newest = sorted((run_dir / "checkpoints").glob("step_*.pth"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    train(configure(images, run_dir))
    assert f"passed over a checkpoint: {newest}" in capsys.readouterr().out
    assert_same(last_checkpoint(uninterrupted)["model"], last_checkpoint(run_dir)["model"])


def one_step(images, world_size):
    """Gradients, F and the network after one float64 step on this rank's share of fixed images."""
    torch.set_default_dtype(torch.float64)
    try:
        learner = build(load(Config, None, [*TINY, "run_dir=r", "data.root=d"]), torch.device("cpu"))
        learner.dtype = torch.float64
        step(learner, images[:, comm.rank() :: world_size], 0.5)
    finally:
        torch.set_default_dtype(torch.float32)
    gradients = {name: value.grad for name, value in learner.model.online.named_parameters()}
    return gradients, learner.form.state_dict(), learner.model.state_dict()


def join(rank, world_size, port, images, path):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    comm.start(torch.device("cpu"))
    torch.save(one_step(images, world_size), f"{path}/{rank}.pth")
    comm.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_ranks_equal_one_process(tmp_path):
    images = torch.randint(0, 255, (2, 8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alone = one_step(images, 1)
    multiprocessing.spawn(join, (2, free_port(), images, str(tmp_path)), nprocs=2)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for one, two in zip(alone, together, strict=True):
            assert one.keys() == two.keys()
            for name in one:
                torch.testing.assert_close(two[name], one[name], rtol=1e-9, atol=1e-12)


def test_cross_rank_batchnorm_in_one_process_is_batchnorm():
    ours, theirs = CrossRankBatchNorm(3).double(), torch.nn.BatchNorm2d(3).double()
    for maps in torch.randn(2, 5, 3, 4, 4, dtype=torch.float64):
        one, other = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        torch.testing.assert_close(ours(one), theirs(other))
        ours(one).square().sum().backward(), theirs(other).pow(3).sum().backward()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for module in (ours, theirs):
        module.eval()
    torch.testing.assert_close(ours(maps), theirs(maps))


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
    assert told.stdout.count("step 6/6") == 1
    one, two = last_checkpoint(uninterrupted), last_checkpoint(tmp_path / "run")
    assert_same(two["config"]["optim"], one["config"]["optim"])
    first, second = curves(uninterrupted)[0], curves(tmp_path / "run")[0]
    assert second == pytest.approx(first, rel=1e-3)


BAD = {
    "misspelt option": ["optim.epoch=2"],
    "ill-typed option": ["optim.epochs=soon"],
    "missing folder": ["data.root=/nowhere/at/all"],
    "empty folder": ["data.root={empty}"],
    "fewer images than a batch": ["optim.batch_size=64"],
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
    told = subprocess.run(
        command(images, tmp_path / "run", *[text.format(**places) for text in BAD[case]]),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2, told.stderr
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in told.stderr
    assert sorted(uninterrupted.rglob("*")) == before


def test_a_loss_that_is_not_finite_stops_the_run_with_a_sentence(images, tmp_path):
    told = subprocess.run(
        command(images, tmp_path / "run", "optim.base_lr=1e30", "optim.warmup_epochs=0"), capture_output=True, text=True
    )
    assert told.returncode == 2 and "is not finite" in told.stderr and "Traceback" not in told.stderr


def test_a_corrupt_image_among_good_ones_is_counted_and_named_once(images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "05.png").write_bytes(b"\x89PNG and nothing more")
    told = subprocess.run(
        command(folder, tmp_path / "run", "optim.batch_size=20", "data.workers=1"), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr.count("05.png") == 1
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["images_skipped"] == 1
