"""tools/sweep.py tells every mistake before anything is written, and keeps what another sweep wrote."""

from __future__ import annotations

import itertools
import shutil
import sys

import pytest

from helpers.played_sweeps import (
    SMALL,
    Played,
    opened,
    swept,
    written,
)
from pretrain.runtime.errors import UserError
from tools import sweep as tool
from tools.trials.sweep.loop import check_open
from tools.trials.sweep.place import Place
from tools.trials.sweep.storage import FILE, begun, open_storage

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"search": {"optim.base_rl": {"low": 0.1, "high": 1}}},
            "no option 'optim.base_rl'.*did you mean 'optim.base_lr'",
        ),
        ({"search": {"method.temperature": {"low": 0.1, "high": 1}}}, "no option 'method.temperature'.*did you mean"),
        ({"search": {"run_dir": ["a", "b"]}}, "run_dir differs from run to run and is set from --out"),
        ({"search": {"optim.epochs": {"low": 1, "high": 3}}}, "optim.epochs is searched and given on the command line"),
        ({"search": {"optim.base_lr": {"low": 1, "high": 0.1}}}, "from 1 to 0.1, where there is nothing to search"),
        ({"search": {"optim.base_lr": {"low": 0, "high": 1, "log": True}}}, "by ratios .log., which needs low above 0"),
        ({"search": {"optim.base_lr": {"low": -1, "high": 1}}}, "optim.base_lr cannot be -1.0 .*out of range"),
        ({"search": {"optim.base_lr": {"low": 1}}}, "lacks high"),
        ({"search": {"optim.base_lr": {"low": 1, "high": 2, "step": 3}}}, "in steps of 3: there is no second value"),
        ({"search": {"optim.base_lr": {"low": 1, "hihg": 2}}}, "no option 'hihg'; did you mean 'high'"),
        ({"search": {"optim.base_lr": {"times": 1}}}, "times=1.0 is out of range: it must be above 1"),
        ({"search": {"model.projector_depth": {"low": 1.5, "high": 3}}}, "takes whole numbers"),
        ({"search": {"optim.base_lr": [0.1]}}, "at least two, each once"),
        ({"search": {"optim.base_lr": ["fast", "slow"]}}, "cannot be fast .*wrong type"),
        ({"search": {"optim.optimiser": {"low": 1, "high": 2}}}, "is no number: list its values as choices"),
        ({"search": {}}, "search is empty"),
        ({"search": {"optim.base_lr": 3}}, "has to be a mapping such as"),
        ({"sampler": "tpee"}, "name=tpee is not known .did you mean tpe."),
        ({"pruner": "medium"}, "name=medium is not known .did you mean median."),
        ({"metric": "knm"}, "metric=knm is not known .did you mean knn."),
        ({"trials": 0}, "trials=0 is out of range"),
        ({"trails": 3}, "no option 'trails'; did you mean 'trials'"),
        ({"lock": "flock"}, "lock=flock is not known"),
        ({"rows": ["e_unigard"]}, "no row 'e_unigard' in .*did you mean 'e_unigrad'"),
        ({"rows": ["c_byol"], "search": {"method.balance": {"times": 10}}}, "needs a value above 0 in the row"),
        ({"config": "absent"}, "absent is neither a YAML file nor a folder"),
        ({"config": None}, "lacks config"),
        ({"sampler": "grid"}, "a grid lists every value"),
    ],
)
def test_every_mistake_is_told_before_anything_is_written(data, tmp_path, changes, told):
    given = [one for one in SMALL if not one.startswith(("model.projector_depth", "optim.optimiser"))]
    path = written(tmp_path, **changes)
    with pytest.raises(UserError, match=told):
        tool.main(["--config", str(path), "--data", str(data), "--out", str(tmp_path / "out"), *given])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--parallel", "0"], "--parallel 0 is below 1"),
        (["--rows", "b_simclr"], "--rows: .* has no row 'b_simclr'; it has e_unigrad"),
        (["--launch", "--run-dir x"], "--launch: --run-dir is the sweep's own"),
        (["--launch", "'"], "no words of a shell"),
        (["--launch", "--partitoin x"], "did you mean '--partition'"),
        (["--data", "absent"], "absent"),
        (["data.root=x"], "data.root differs from run to run"),
        (["--cluster", "slurm"], "this machine has no SLURM"),
    ],
)
def test_a_wrong_command_line_is_told_too(data, tmp_path, monkeypatch, words, told):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=told):
        asked = {"--config": str(written(tmp_path)), "--data": str(data), "--out": str(tmp_path / "out")}
        asked = {key: one for key, one in asked.items() if key not in words}
        tool.main([*itertools.chain(*asked.items()), *SMALL, *words])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "given", "told"),
    [
        ({"sampler": "random"}, [], "with sampler.name=tpe, but this one asks for random: choose another --out"),
        ({"seed": 3}, [], "with seed=0, but this one asks for 3"),
        ({"metric": "linear"}, [], "with metric=knn, but this one asks for linear"),
        ({"search": {"method.balance": {"times": 3}}}, [], "e_unigrad with optim.base_lr=nothing"),
        ({}, ["views.min_scale=0.4"], "with views.min_scale=0.2, but this one asks for 0.4"),
    ],
)
def test_a_folder_of_another_sweep_is_refused_and_keeps_everything(whole, data, tmp_path, changes, given, told):
    shutil.copytree(whole[0] / "out", tmp_path / "out")
    before = (tmp_path / "out" / FILE).read_bytes()
    with pytest.raises(UserError, match=told):
        opened(written(tmp_path, **changes), data, tmp_path / "out", given=[*SMALL, *given])
    assert (tmp_path / "out" / FILE).read_bytes() == before


def test_a_journal_that_is_damaged_or_of_another_program_is_told(whole, data, tmp_path):
    (tmp_path / "out").mkdir()
    whole_one = (whole[0] / "out" / FILE).read_bytes()
    (tmp_path / "out" / FILE).write_bytes(whole_one[:300] + b"\n" + whole_one[300:])
    with pytest.raises(UserError, match=r"sweep.journal is damaged or no journal of Optuna .*put a copy of it back"):
        opened(written(tmp_path), data, tmp_path / "out")
    (tmp_path / "other").mkdir()
    optuna.create_study(storage=open_storage(tmp_path / "other", "symlink"), study_name="e_unigrad").ask()
    with pytest.raises(UserError, match=r"holds a study 'e_unigrad' of no sweep"):
        opened(written(tmp_path), data, tmp_path / "other")


@pytest.mark.parametrize(
    ("file", "text"), [("config.yaml", ""), ("config.yaml", "optim: ["), ("config.yaml", None), ("job.json", '{"a')]
)
def test_a_trial_folder_that_is_half_written_is_told_and_begins_anew_once_it_is_away(data, tmp_path, file, text):
    """config.yaml cut off in the middle (None), empty, or no YAML; or half a job.json."""
    path, out = written(tmp_path, trials=1), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        swept(path, data, out, Played(dies=2))
    folder = out / "e_unigrad-0"
    whole_one = (folder / "config.yaml").read_text()
    (folder / file).write_text(whole_one[: len(whole_one) // 2] if text is None else text)
    with pytest.raises(UserError, match=r"e_unigrad-0 is half written or of another run .*: move it away"):
        check_open(*opened(path, data, out), Place("local", (), 1))
    assert (
        begun("e_unigrad", opened(path, data, out)[1]["e_unigrad"].get_trials())["e_unigrad-0"].state.name == "RUNNING"
    )
    folder.rename(tmp_path / "away")
    assert {name: one[0] for name, one in swept(path, data, out).items()} == {"e_unigrad-0": "complete"}


def test_without_optuna_one_sentence_names_the_extra(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs optuna, which is not installed: pip install 'unigrad\[sweep\]'"):
        tool.main(["--config", str(written(tmp_path)), "--data", str(data), "--out", str(tmp_path / "out")])
