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
from pretrain.data import Batch
from pretrain.learner import build
from pretrain.methods import ROWS
from pretrain.objective import objective
from pretrain.train import mixed, step, train
from pretrain.views import normalise

ROOT = Path(__file__).parents[1]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
TINY = [
    "model.arch=resnet18",
    "model.projector_depth=2",
    "model.projector_width=16",
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
    return [{key: line[key] for key in line if key not in ("images_per_second", "data_wait", "time")} for line in lines]


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
    for part in ("step", "model", "form", "health", "optimizer", "scaler"):
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


CASES = (*ROWS, "unigrad optim.accumulate=2", "byol optim.accumulate=2 optim.optimiser=lars")


def one_step(images, world_size, name):
    """Gradients, memory and the network after one float64 step on this rank's share of fixed images."""
    torch.set_default_dtype(torch.float64)
    name, *words = name.split()
    own = [*words, *(["method.queue_size=32"] if name == "moco" else [])]
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", f"method.name={name}", *own])
        learner = build(cfg, torch.device("cpu"))
        learner.dtype = torch.float64
        step(learner, Batch((images[:, comm.rank() :: world_size],), None, []), 1, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    learning = {"network": learner.model.online, "predictor": learner.form}
    gradients = {
        f"{part} {name}": value.grad for part, module in learning.items() for name, value in module.named_parameters()
    }
    memory = {name: value for name, value in learner.form.state_dict().items() if isinstance(value, torch.Tensor)}
    return gradients, memory, learner.model.state_dict()


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
    torch.save({name: one_step(images, world_size, name) for name in CASES}, f"{path}/{rank}.pth")
    comm.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def fixed_images():
    return torch.randint(0, 255, (2, 8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory, fixed_images):
    """What each of two gloo ranks has after a step of every row: one pool serves all rows."""
    path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(join, (2, free_port(), fixed_images, str(path)), nprocs=2)
    return [torch.load(path / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_process(two_ranks, fixed_images, name):
    alone = one_step(fixed_images, 1, name)
    for together in two_ranks:
        for one, two in zip(alone, together[name], strict=True):
            assert one.keys() == two.keys()
            for key in one:
                same = sorted_rows if key == "samples.rows" else torch.Tensor  # a queue's order is that of the ranks
                torch.testing.assert_close(same(two[key]), same(one[key]), rtol=1e-9, atol=1e-12)


def sorted_rows(rows):
    return rows[rows[:, 0].argsort()]


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
    told = subprocess.run(
        command(images, tmp_path / "run", *[text.format(**places) for text in BAD[case]]),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2, told.stderr
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in told.stderr
    assert sorted(uninterrupted.rglob("*")) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_it_came_from(images, tmp_path):
    """The kept state, stepped with the kept images, gives the same loss that is not finite."""
    run_dir = tmp_path / "run"
    words = ["optim.base_lr=1e30", "optim.warmup_epochs=0", "run.log_every=3", "run.checkpoint_every_epochs=0.5"]
    told = subprocess.run(command(images, run_dir, *words), capture_output=True, text=True)
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
    told = subprocess.run(command(images, tmp_path / "run", *words), capture_output=True, text=True)
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
    told = subprocess.run(
        command(folder, tmp_path / "run", "optim.batch_size=20", "data.workers=1"), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr.count("05.png") == 1
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["images_skipped"] == 1


VARIANTS = {
    "cutmix": ["views.cutmix_alpha=1"],
    "cutmix on own rows": ["views.cutmix_alpha=1", "method.positive_target=stop_gradient"],
    "local views": [],
    "cutmix and local views": ["views.cutmix_alpha=1"],
}


@pytest.mark.parametrize("name", ["unigrad", "simclr", "byol", "vicreg", "barlow_twins"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_objective(fixed_images, name):
    """Against rows computed part by part with a graph, one objective over all of them, and one backward."""
    torch.set_default_dtype(torch.float64)
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", f"method.name={name}", "optim.accumulate=2"])
        ours, reference = build(cfg, torch.device("cpu")), build(cfg, torch.device("cpu"))
        ours.dtype = torch.float64
        step(ours, Batch((fixed_images,), None, []), 1, 2)
        views = normalise(fixed_images).double()
        reference.model.update_target(ours.target_momentum(0.5))
        targets = torch.cat([reference.model.target([part]) for part in views.chunk(2, 1)], 1)
        online = torch.cat([reference.model.online([part]) for part in views.chunk(2, 1)], 1)
        rows = {"momentum": targets, "stop_gradient": online.detach()}
        first, second = (rows[branch] for branch in reference.targets)
        sum(objective(reference.form, online, first, negative_targets=second).values()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    for module in ("model", "form"):
        theirs = dict(getattr(reference, module).named_parameters())
        for key, parameter in getattr(ours, module).named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(parameter.grad, theirs[key].grad, rtol=1e-9, atol=1e-12, msg=key)
        for key, buffer in getattr(reference, module).named_buffers():
            if "num_batches" not in key:
                torch.testing.assert_close(getattr(ours, module).get_buffer(key), buffer, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_and_local_views_learn_from_clean_global_targets(fixed_images, variant):
    """One step against the objective written out: F of the clean global rows, shares as the matrix."""
    torch.set_default_dtype(torch.float64)
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", *VARIANTS[variant]])
        ours, reference = build(cfg, torch.device("cpu")), build(cfg, torch.device("cpu"))
        ours.dtype = torch.float64
        images = [fixed_images]
        if "local" in variant:
            images.append(fixed_images[:, :, :, :16, :16].repeat(2, 1, 1, 1, 1)[:3])
        stepped = step(ours, Batch(tuple(images), None, []), 1, 2)
        views = [normalise(group).double() for group in images]
        seen, mixing = mixed(reference, views, 1)
        reference.model.update_target(ours.target_momentum(0.5))
        with torch.no_grad():
            own = "own rows" in variant
            clean = copy.deepcopy(reference.model)
            targets = clean.target(views[:1])
            positive = clean.online(views[:1]) if own else targets
        online = reference.model.online(seen)
        terms = objective(reference.form, online, positive, mixing=mixing, negative_targets=targets)
        sum(terms.values()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert stepped.online.shape == (2 + 3 * ("local" in variant), 8, 16)
    torch.testing.assert_close(ours.form.correlation.corr, reference.form.correlation.corr, rtol=0, atol=1e-12)
    rows = targets.flatten(0, 1)
    torch.testing.assert_close(ours.form.correlation.corr, rows.T @ rows / len(rows), rtol=0, atol=1e-12)
    theirs = dict(reference.model.online.named_parameters())
    for key, parameter in ours.model.online.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[key].grad, rtol=1e-9, atol=1e-12, msg=key)


def test_a_run_with_cutmix_lars_and_a_batch_in_parts_resumes_bit_for_bit(images, tmp_path):
    words = ["views.cutmix_alpha=1", "optim.optimiser=lars", "optim.bias_base_lr=0.2", "optim.accumulate=2"]
    train(configure(images, tmp_path / "whole", *words))
    interrupted = tmp_path / "interrupted"
    train(configure(images, interrupted, *words))
    for path in sorted((interrupted / "checkpoints").glob("step_*.pth"))[-1:]:
        path.unlink()  # as if it had been killed after step 3
    train(configure(images, interrupted, *words))
    for part in ("model", "form", "health", "optimizer"):
        assert_same(last_checkpoint(tmp_path / "whole")[part], last_checkpoint(interrupted)[part])
