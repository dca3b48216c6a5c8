"""Peers: lightly's modules and losses take the steps of our rows, resume, and stand beside them in a comparison."""

from __future__ import annotations

import contextlib
import copy
import io
import json

import pytest
import torch
import yaml

from helpers.painted import paint_both
from helpers.repository import ROOT
from helpers.tiny_runs import TINY, fixed_batch, write_images
from pretrain import config
from pretrain.augment.multicrop import Batch
from pretrain.engine import learner
from pretrain.models.siamese import UnitRows
from pretrain.runtime.errors import UserError
from pretrain.step import step
from pretrain.train import train
from tools import compare, evaluate, pretrain
from tools.trials.comparison import jobs
from tools.trials.comparison.table import sentence
from tools.trials.comparison.trials import OURS, make_trials, with_peers
from tools.trials.peers import loop
from tools.trials.peers.peer import find
from tools.trials.rows import find_rows, read_setting

pytest.importorskip("lightly")
ROWS = ROOT / "configs" / "pretrain" / "peers"
NAMES = [path.stem for path in find_rows(ROWS, None)]
CPU = torch.device("cpu")


def a_config(name, *more, kind=""):
    """A row of configs/pretrain/peers at the size of a test."""
    depth = "model.projector_depth=3" if name == "barlow_twins" else "model.projector_depth=2"
    hidden = ["method.hidden=24"] * (name == "byol")
    given = [*TINY, depth, *hidden, *more]
    return config.load(config.Config, ROWS / f"{kind or name}.yaml", given)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def pair(float64, request):
    """Ours and lightly's of a row, before their first step, in float64."""
    cfg = a_config(request.param, "run_dir=r", "data.root=d", "optim.base_lr=0.5", "optim.weight_decay=0.05")
    ours, theirs = learner.build(cfg, CPU), loop.Training(cfg, find(cfg), CPU)
    ours.dtype = theirs.dtype = torch.float64
    return request.param, ours, theirs


def parameters(ours, theirs):
    """Pairs of a parameter of ours and lightly's, of all that learns."""
    pairs = [(ours.model.online.trunk, theirs.trunk), (ours.model.online.projector, theirs.network.head)]
    pairs += [(ours.form.predictor, theirs.network.predictor)] if hasattr(theirs.network, "predictor") else []
    return [both for one, other in pairs for both in zip(one.parameters(), other.parameters(), strict=True)]


@pytest.mark.parametrize("pair", NAMES, indirect=True)
def test_lightlys_loss_has_our_gradient_times_the_stated_factor_and_three_steps_are_the_same(pair):
    """With momentum, decay and a target that follows. BYOL's predictor gets unit rows here, as that of row c does."""
    name, ours, theirs = pair
    if name == "byol":
        theirs.network.predictor = torch.nn.Sequential(UnitRows(), theirs.network.predictor)
    batch, start = Batch((fixed_batch(),), None, []), copy.deepcopy(ours.model.online.trunk)
    for done in range(1, 4):
        step(ours, batch, done, 6)
        theirs(batch, done, 6)
        factor = find(a_config(name, "run_dir=r", "data.root=d")).gradient
        for own, other in parameters(ours, theirs):
            torch.testing.assert_close(other.grad, factor * own.grad, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(other, own, rtol=1e-6, atol=1e-9)
    moved = [(a - b).abs().max() for a, b in zip(start.parameters(), theirs.trunk.parameters(), strict=True)]
    assert max(moved) > 1e-3


@pytest.mark.parametrize("pair", ["byol"], indirect=True)
def test_byols_predictor_is_the_one_thing_that_differs_and_it_does(pair):
    _, ours, theirs = pair
    batch = Batch((fixed_batch(),), None, [])
    step(ours, batch, 1, 6)
    theirs(batch, 1, 6)
    assert max((other.grad - own.grad).abs().max() for own, other in parameters(ours, theirs)) > 1e-4


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("simclr", ["method.name=unigrad", "method.temperature=null"], "unigrad has no peer in lightly: choose one of"),
        ("barlow_twins", ["method.positive_target=momentum"], "set method.positive_target=stop_gradient"),
        ("byol", ["mixing.cutmix_alpha=1"], "without mixing.cutmix_alpha=1.0: set mixing.cutmix_alpha=0.0"),
        ("byol", ["views.local_count=2"], "set views.local_count=0"),
        ("byol", ["optim.optimiser=lars"], "set optim.optimiser=sgd"),
    ],
)
def test_what_a_plain_loop_does_not_do_is_told(name, more, told):
    with pytest.raises(UserError, match=told):
        find(a_config(name, "run_dir=r", "data.root=d", *more))


def test_a_projector_that_is_not_lightlys_is_told():
    cfg = a_config("simclr", "run_dir=r", "data.root=d", "model.projector_last_norm=none")
    with pytest.raises(UserError, match="not that of lightly's SimCLRProjectionHead .*configs/pretrain/peers"):
        loop.Training(cfg, find(cfg), CPU)


def test_what_the_launcher_hands_to_a_job_says_who_trains_it(tmp_path, capsys):
    """It resolves a run to one file, so what is no option of the configuration would be lost."""
    paint_both(tmp_path, train=1, val=1)
    setting = read_setting(ROOT / "configs/compare/imagenette_evidence.yaml", ROWS, OURS)
    ours, theirs = with_peers(make_trials(find_rows(ROWS, "byol"), setting, [], tmp_path, tmp_path / "out", [0]))
    for trial, library in ((ours, None), (theirs, "lightly")):
        pretrain.main(["--show", *jobs.Training(trial).arguments()])
        shown = yaml.safe_load(capsys.readouterr().out)
        assert shown["method"].get("library") == library and shown["run_dir"] == str(trial.folder)


def test_the_setting_names_the_rows_that_have_another_rate(tmp_path):
    paint_both(tmp_path, train=1, val=1)
    setting = read_setting(ROOT / "configs/compare/imagenette_evidence.yaml", ROWS, OURS)
    trials = make_trials(find_rows(ROWS, None), setting, [], tmp_path, tmp_path / "out", [0])
    assert ", base lr 0.5 (barlow_twins: 0.002). Trained on" in sentence(trials, "images")


def test_the_setting_names_the_rows_that_have_another_projector(tmp_path):
    paint_both(tmp_path, train=1, val=1)
    table_10 = ROOT / "configs/pretrain/table10"
    setting = read_setting(ROOT / "configs/compare/imagenette_evidence.yaml", table_10, OURS)
    rows = find_rows(table_10, "width_1024,width_2048,width_4096")
    trials = make_trials(rows, setting, [], tmp_path, tmp_path / "out", [0, 1])
    told = "projector of 2 layers of 128 (width_2048: 2 layers of 256; width_4096: 2 layers of 512), 15 epochs"
    assert told in sentence(trials, "images")


def test_our_own_training_refuses_what_lightly_is_to_train(tmp_path):
    with pytest.raises(UserError, match=r"method.library=lightly is for tools/pretrain.py"):
        train(a_config("byol", f"run_dir={tmp_path}", f"data.root={tmp_path}", "method.library=lightly"))


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_bytes(tmp_path):
    write_images(tmp_path)
    given = ["--config", str(ROWS / "byol.yaml"), "method.library=lightly", *TINY, "method.hidden=24"]
    given += [f"data.root={tmp_path}", "run.threads=1"]
    with contextlib.redirect_stdout(io.StringIO()):
        pretrain.main([*given, f"run_dir={tmp_path / 'whole'}"])
        pretrain.main([*given, f"run_dir={tmp_path / 'killed'}"])
        newest = max((tmp_path / "killed/checkpoints").iterdir())
        newest.unlink()  # as if it had been killed before its last checkpoint
        pretrain.main([*given, f"run_dir={tmp_path / 'killed'}"])
    whole, killed = (torch.load(tmp_path / of / "export/trunk.pth", weights_only=True) for of in ("whole", "killed"))
    assert whole["meta"]["epoch"] == 3 and whole["meta"]["method"] == "byol (lightly)"
    assert whole["digests"] == killed["digests"]
    lines = [json.loads(line) for line in (tmp_path / "killed/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7)) and all("loss" in line for line in lines)
    assert all(line["images_per_second"] > 0 for line in lines)


@pytest.mark.slow
def test_a_comparison_has_ours_and_lightlys_of_the_same_start_side_by_side(tmp_path):
    paint_both(tmp_path / "data", train=8, val=6)
    tree = config.load(config.Config, None, TINY)
    small = {"views": {"size": 32}, "model": {"arch": tree.model.arch, "projector_width": 16}, "data": {"workers": 0}}
    small |= {"optim": {"epochs": 1, "warmup_epochs": 0, "batch_size": 12, "base_lr": 0.1}}
    small |= {"run": {"precision": "fp32", "threads": 1, "device": "cpu"}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    setting, out = read_setting(tmp_path / "small.yaml", ROWS, OURS), tmp_path / "out"
    made = with_peers(make_trials(find_rows(ROWS, "simclr"), setting, [], tmp_path / "data", out, [0]))
    place = jobs.Runner("local", None, None, out)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        for trial in made:
            pretrain.main(jobs.Training(trial).arguments())
            job = jobs.evaluation_of(trial.name, trial.trunk, trial, place, tmp_path / "data", ("knn",), ())
            evaluate.main(job.arguments())
        job = jobs.evaluation_of("untrained", made[0].initial, made[0], place, tmp_path / "data", ("knn",), ())
        evaluate.main(job.arguments())
        base = ["--config", ROWS, "--with", tmp_path / "small.yaml", "--data", tmp_path / "data", "--out", out]
        compare.main([*map(str, base), "--rows", "simclr", "--peers", "--tasks", "knn"])
    assert "train-simclr" not in said.getvalue()  # everything was there
    rows = {line["row"]: line for line in json.loads((out / "table.json").read_text())["rows"]}
    assert list(rows) == ["untrained", "simclr", "simclr_lightly"]
    assert rows["simclr_lightly"]["method"] == "lightly's simclr_both_terms"
    trained = [torch.load(trial.trunk, weights_only=True)["meta"]["method"] for trial in made]
    assert trained == ["simclr_both_terms", "simclr_both_terms (lightly)"]
    assert all("effective rank" in rows[row]["readings"] and rows[row]["curves"] for row in list(rows)[1:])
    first = [json.loads((out / f"{trial.name}/metrics.jsonl").read_text().splitlines()[0]) for trial in made]
    assert first[0]["positive_cosine"] == pytest.approx(first[1]["positive_cosine"], rel=1e-3)
