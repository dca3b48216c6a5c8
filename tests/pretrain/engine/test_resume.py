"""What may change when a run goes on, option by option, and where among its images it then stands."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import pytest
import torch
import yaml

from helpers.repository import ROOT
from helpers.tiny_runs import assert_same, configure, curves, last_checkpoint, write_images
from pretrain import config, methods
from pretrain.data.loader import StepSampler
from pretrain.engine import checkpoint, resume
from pretrain.engine.history import read_history
from pretrain.engine.learner import build, fill_balance
from pretrain.engine.position import Position, beginning, position_in
from pretrain.optim.base import Part
from pretrain.optim.build import build as build_optimiser
from pretrain.optim.build import under_own_options
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import FIXED, FREE, TOLD, options
from pretrain.train import train

ROWS = list(methods.ROWS)
BASE = config.load(config.Config, None, ["run_dir=run", "data.root=images"])
NAMES = [one.name for one in options(BASE)]
OF_ROWS = [(row, one.name) for row in ROWS for one in options(methods.ROWS[row].defaults(), "method.")]


def another(one):
    """Another value that the option may have, as it is typed."""
    rule, value = one.rule, one.default
    if rule.choices:
        return next(str(choice) for choice in rule.known() if choice != value)
    if "bool" in one.type:
        return str(not value).lower()
    if "str" in one.type:
        return f"{value}-else"
    lower = rule.at_least if rule.at_least is not None else rule.above or 0
    upper = next((bound for bound in (rule.at_most, rule.below) if bound is not None), lower + 10)
    if "int" in one.type:
        return str(value + 1 if value is not None and value + 1 < upper else int(lower) + 1)
    return str(0.5 * lower + 0.5 * min(upper, lower + 1) + 0.0625)


def changed(row, name):
    words = [f"method.name={row}", "run_dir=run", "data.root=images"]
    old = config.load(config.Config, None, words)
    known = [*options(methods.ROWS[row].defaults(), "method."), *options(old)]  # with the row's own values first
    option = next(one for one in known if one.name == name)
    new = config.load(config.Config, None, [*words, f"{name}={another(option)}"])
    return resume.changes(dataclasses.asdict(old), new), option


@pytest.mark.parametrize(("row", "name"), [*(("unigrad", name) for name in NAMES), *OF_ROWS])
def test_every_option_says_whether_it_may_change_and_that_is_what_happens(row, name):
    if name == "method.name":
        new = dataclasses.replace(BASE, method=config.load(config.Config, None, ["method.name=simclr"]).method)
        found = [one for one in resume.changes(dataclasses.asdict(BASE), new) if one.option.name == name]
    else:
        found, option = changed(row, name)
        assert option.rule.resume in (FREE, TOLD, FIXED), f"{name} says no resume="
    if name == "run_dir":  # a folder that was moved is the same run
        assert not found
        return
    (one,) = found
    if one.kind == FIXED:
        with pytest.raises(UserError) as refused:
            resume.refuse("step_00000008.pth", found)
        told = str(refused.value)
        assert told.count(f"{name}=") >= 2 and "choose another run_dir, or go on with" in told and str(one) not in told
    else:
        resume.refuse("step_00000008.pth", found)


def test_the_three_lists_are_these():
    """Written down once more by hand: a change of a class is a change of what users were told."""
    kinds = {kind: {one.name for one in options(BASE) if one.rule.resume == kind} for kind in (FREE, TOLD, FIXED)}
    assert {"optim.base_lr", "optim.bias_base_lr", "optim.momentum", "optim.weight_decay", "optim.epochs"} < kinds[FREE]
    assert {"optim.target_momentum", "optim.warmup_epochs", "data.workers", "run.log_every"} < kinds[FREE]
    assert {"optim.batch_size", "run.precision", "data.root", "mixing.cutmix_alpha", "views.size"} < kinds[TOLD]
    wanted = {name for name in NAMES if name.startswith(("model.", "method."))} | {"run.seed"}
    wanted |= {"optim.optimiser", "optim.exclude", "optim.predictor_lr"}
    wanted |= {"data.mean", "data.std", "data.channels", "data.bits"}
    assert kinds[FIXED] == wanted


def listed(line):
    """The options that a row of the page names: `a.b`, `.c` for a further one of a, `a` for all of a."""
    found, section = set(), ""
    for word in re.findall(r"`([\w.]+)`", line):
        section = word.split(".")[0] or section
        name = f"{section}{word}" if word.startswith(".") else word
        found |= {one for one in NAMES if f"{one}.".startswith(f"{name}.")}
    return found


def test_the_page_lists_every_option_in_its_row():
    page = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8").splitlines()
    for kind, begins in ((FREE, "| yes, and it takes effect"), (TOLD, "| yes, and it is said"), (FIXED, "| no: one")):
        (line,) = [line for line in page if line.startswith(begins)]
        wanted = {one.name for one in options(BASE) if one.rule.resume == kind} - {"run_dir"}  # moved, not changed
        assert listed(line.split("|")[2]) == wanted


def test_an_option_at_its_default_is_not_a_change_however_it_is_written():
    tree = dataclasses.asdict(BASE)
    del tree["optim"]["momentum"], tree["views"]["hue"]  # as code wrote it that had no such options
    new = config.load(config.Config, None, ["run_dir=elsewhere", "data.root=./images", "method.rho=0.99"])
    assert resume.changes(tree, new) == []


# --- the position -------------------------------------------------------------------------------------------------


def images_of(sampler, first, last):
    return [key for step in range(first, last) for key in sampler.keys(step)]


@pytest.mark.parametrize(
    ("before", "after", "within"), [(8, 16, 32), (16, 8, 16), (8, 24, 24), (12, 8, 24), (8, 8, 40)]
)
def test_with_another_batch_size_every_image_of_each_epoch_is_still_seen_once(before, after, within):
    """48 images, stopped within or at the end of the second epoch; both batch sizes divide what was seen."""
    first, second = StepSampler(48, before, 4, seed=0), StepSampler(48, after, 4, seed=0)
    for stop in ((48 + within) // before, 96 // before):
        position = beginning(first).after(stop, 0, first)
        place = position.place(second)
        seen = images_of(first, 0, stop) + images_of(second, place, second.steps)
        assert sorted(seen) == [(epoch, index) for epoch in range(4) for index in range(48)]
        assert position.seen == stop * before and position.remarks(second) == []


def test_a_remainder_that_fills_no_batch_comes_again_and_is_told():
    first, second = StepSampler(48, 8, 2, seed=0), StepSampler(48, 16, 2, seed=0)
    position = beginning(first).after(3, 0, first)  # 24 images: one batch of 16 and a half
    assert position.place(second) == 1
    assert position.remarks(second) == ["epoch 1 goes on in batches of 16: 8 images come again"]


@pytest.mark.parametrize("images", [64, 40, 480])
@pytest.mark.parametrize("epochs_done", [3, 2.5])
def test_in_another_set_the_epoch_goes_on_at_its_share(images, epochs_done):
    first, second = StepSampler(48, 8, 6, seed=0), StepSampler(images, 8, 6, seed=0)
    position = beginning(first).after(round(epochs_done * 6), 0, first)
    epoch = position.place(second) / second.steps_per_epoch
    assert epochs_done - 1 / second.steps_per_epoch < epoch <= epochs_done
    (remark,) = position.remarks(second)
    assert remark.startswith(f"{images} images instead of 48") and ("another order" in remark) == (epochs_done == 2.5)


def test_positions_add_up_over_several_changes():
    one, two = StepSampler(48, 8, 4, seed=0), StepSampler(48, 16, 4, seed=0)
    middle = beginning(one).after(9, 0, one)
    end = middle.after(two.steps, start := middle.place(two), two)
    assert (middle.step, middle.epoch, middle.images, middle.seen) == (9, 1, 24, 72)
    assert end == Position(9 + two.steps - start, 4, 0, 72 + 16 * (two.steps - start), 48, 16)


@pytest.mark.parametrize("line", [None, {"step": 9, "steps": 18}])
def test_a_checkpoint_of_earlier_code_stands_where_its_steps_say(tmp_path, line):
    if line:
        (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    state = {"step": 9, "config": {"optim": {"batch_size": 8, "epochs": 3}}}
    assert position_in(state, tmp_path, StepSampler(50, 8, 6, seed=0)) == Position(9, 1, 24, 72, 50, 8)
    if line:  # 6 steps an epoch then, 8 now
        assert position_in(state, tmp_path, StepSampler(64, 8, 6, seed=0)) == Position(9, 1, 24, 72, 48, 8)


# --- the optimiser ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
def test_a_stored_state_leaves_every_option_of_the_optimiser_as_it_was_asked_for(name):
    weight = torch.nn.Parameter(torch.ones(3, 3, dtype=torch.float64))
    first = build_optimiser(name, [Part([("weight", weight)])], 0.9, 1e-4, 1.0)
    weight.grad = torch.ones_like(weight)
    first.step()
    second = build_optimiser(name, [Part([("weight", weight)])], 0.5, 0.25, 2.0)
    asked = [{key: value for key, value in group.items() if key != "params"} for group in second.param_groups]
    second.load_state_dict(under_own_options(second, first.state_dict()))
    for group, wanted in zip(second.param_groups, asked, strict=True):
        assert {key: group[key] for key in wanted} == wanted
        assert name != "lamb" or group["step"] == 1  # which LAMB counts there
    assert_same(list(second.state_dict()["state"].values()), list(first.state_dict()["state"].values()))


# --- whole runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def begun(images, tmp_path_factory):
    """2 epochs of 16 of 20 images in batches of 8: 4 steps."""
    run_dir = tmp_path_factory.mktemp("begun") / "run"
    train(configure(images, run_dir, "optim.epochs=2", "run.checkpoint_every_epochs=1"))
    return run_dir


@pytest.fixture
def run_dir(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def lines(run_dir):
    return [(line["step"], line["epoch"], line["images"]) for line in curves(run_dir)]


def test_more_epochs_and_other_rates_are_trained_and_the_run_folder_tells_it(images, run_dir, capsys):
    words = ["optim.epochs=3", "optim.base_lr=0.5", "optim.momentum=0.5", "optim.weight_decay=0.25"]
    train(configure(images, run_dir, "run.checkpoint_every_epochs=1", *words, "optim.bias_base_lr=0.25"))
    groups = last_checkpoint(run_dir)["optimizer"]["param_groups"]
    assert [(group["momentum"], group["weight_decay"], group["lr_share"]) for group in groups] == [
        (0.5, 0.25, 1.0),
        (0.5, 0.25, 0.5),
    ]
    written = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (written["optim"]["epochs"], written["optim"]["base_lr"]) == (3, 0.5)
    assert lines(run_dir)[-1] == (6, 3.0, 48)
    first, second = read_history(run_dir)
    assert (first["step"], first["changed"]) == (0, {})
    assert (second["step"], second["images"], second["changed"]["optim.epochs"]) == (4, 32, [2, 3])
    assert "optim.epochs=3 (was 2)" in capsys.readouterr().out


def test_another_batch_size_goes_on_at_the_epoch_and_numbers_its_steps_on(images, run_dir, capsys):
    train(configure(images, run_dir, "optim.epochs=4", "optim.batch_size=16"))
    assert lines(run_dir) == [(1, 0.5, 8), (2, 1.0, 16), (3, 1.5, 24), (4, 2.0, 32), (5, 3.0, 48), (6, 4.0, 64)]
    assert [path.name for path in checkpoint.list_checkpoints(run_dir)][-1] == "step_00000006.pth"
    meta = torch.load(run_dir / "export" / "trunk.pth", weights_only=True)["meta"]
    assert (meta["step"], meta["epoch"], meta["images_seen"]) == (6, 4.0, 64)
    assert "note: two recipes in one run" in (told := capsys.readouterr().out) and "optim.batch_size=16 (was 8)" in told


def test_after_a_change_a_run_resumes_bit_for_bit_as_before(images, run_dir, tmp_path):
    words = ["optim.epochs=4", "optim.batch_size=16", "run.checkpoint_every_epochs=1"]
    train(configure(images, run_dir, *words))
    again = shutil.copytree(run_dir, tmp_path / "again")
    checkpoint.list_checkpoints(again)[-1].unlink()  # as if it had been killed after step 5
    train(configure(images, again, *words))
    for part in ("step", "model", "form", "health", "optimizer", "position"):
        assert_same(last_checkpoint(run_dir)[part], last_checkpoint(again)[part])
    assert curves(again) == curves(run_dir)


def test_a_set_that_has_grown_goes_on_at_the_same_epoch(images, run_dir, tmp_path, capsys):
    more = shutil.copytree(images, tmp_path / "more")
    for path in sorted(images.iterdir())[:12]:
        shutil.copy(path, more / f"new-{path.name}")
    train(configure(more, run_dir, "optim.epochs=3"))
    assert lines(run_dir)[4:] == [(5, 2.25, 40), (6, 2.5, 48), (7, 2.75, 56), (8, 3.0, 64)]
    assert "note: 32 images instead of 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["optim.epochs=2"], ["optim.epochs=2", "optim.batch_size=16"], ["optim.epochs=1", "optim.warmup_epochs=0"]],
)
def test_nothing_left_to_do_is_a_sentence_and_changes_nothing_but_a_missing_export(images, run_dir, words, capsys):
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file() and path.name != ".lock"}
    (run_dir / "export" / "trunk.pth").unlink()
    trunk = train(configure(images, run_dir, *words))
    assert f"nothing left to do: {run_dir} has done 2 of {words[0][-1]} epochs (step 4)" in capsys.readouterr().out
    assert torch.load(trunk, weights_only=True)["meta"]["step"] == 4
    assert {name: (run_dir / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("word", "stored"),
    [
        ("run.seed=5", "run.seed=0"),
        ("optim.optimiser=lars", "optim.optimiser=sgd"),
        ("method.name=simclr", "method.name=unigrad"),
        ("method.rho=0.5", "method.rho=0.99"),
        ("model.zero_init_residual=false", "model.zero_init_residual=true"),
    ],
)
def test_what_may_not_change_is_refused_with_both_values_and_the_ways_out(images, run_dir, word, stored):
    before = sorted((path, path.stat().st_mtime_ns) for path in run_dir.rglob("*") if path.name != ".lock")
    with pytest.raises(
        UserError, match=rf"was trained with .*{stored}.* asks for .*{word}.* another run_dir, or go on"
    ):
        train(configure(images, run_dir, "optim.epochs=3", word))
    assert sorted((path, path.stat().st_mtime_ns) for path in run_dir.rglob("*") if path.name != ".lock") == before


@pytest.mark.parametrize(("first", "then"), [("fp32", "fp16"), ("fp16", "fp32"), ("fp32", "bf16")])
def test_another_precision_is_told_and_the_scaler_begins_anew(images, tmp_path, first, then, capsys):
    run_dir = tmp_path / "run"
    words = ["optim.base_lr=0.1", "optim.warmup_epochs=0"]
    train(configure(images, run_dir, "optim.epochs=1", f"run.precision={first}", *words))
    train(configure(images, run_dir, "optim.epochs=2", f"run.precision={then}", *words))
    told = capsys.readouterr().out
    assert f"run.precision={then} (was {first})" in told and ("begins anew" in told) == (then == "fp16")
    assert bool(last_checkpoint(run_dir)["scaler"]) == (then == "fp16")


def test_a_state_that_does_not_fit_is_one_sentence(images, run_dir):
    cfg = fill_balance(configure(images, run_dir, "optim.epochs=3"))
    path = checkpoint.list_checkpoints(run_dir)[-1]
    state = torch.load(path, weights_only=True)
    del state["model"]["online.trunk.conv1.0.weight"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"the model in .* does not fit this run \(.*conv1.*\): choose another run_dir"):
        resume.resume(run_dir, build(cfg, torch.device("cpu")).parts(), ["monitor"], cfg, lambda _: None)


COPIES = (
    "step_best.pth", "step_first.pth", "step_00000004_backup.pth", "step_4.pth", "step_00000004.pth.bak",
    "step_99999999 (copy).pth", "._step_99999999.pth", "my_step_99999999.pth", "step_-0000001.pth",
)  # fmt: skip


def test_copies_under_names_of_ones_own_are_neither_the_newest_nor_deleted(images, run_dir):
    folder = run_dir / "checkpoints"
    for name in COPIES:
        (folder / name).write_bytes(b"mine")
    (folder / ".step_notes.part").write_bytes(b"mine")
    (folder / ".step_00000003.pth.123.part").write_bytes(b"left by a process that was killed")
    train(configure(images, run_dir, "optim.epochs=5", "run.checkpoint_every_epochs=1", "run.keep_checkpoints=1"))
    own = {"step_00000010.pth", ".step_notes.part", *COPIES}
    assert {path.name for path in folder.iterdir()} == own
    assert torch.load(folder / "step_00000010.pth", weights_only=True)["step"] == 10


def test_checkpoints_are_ordered_by_their_number_also_beyond_eight_digits(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    steps = [99_999_999, 100_000_000, 4, 1_000_000_000]
    for step in steps:
        checkpoint.path_of(tmp_path, step).touch()
    assert [checkpoint.step_of(path) for path in checkpoint.list_checkpoints(tmp_path)] == sorted(steps)
