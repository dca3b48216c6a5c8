"""tools/runs.py: run folders are shown as they are, also half written, compared, and removed where that is safe."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from helpers.painted import paint_both
from helpers.report_samples import a_line, a_result, a_run
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import exclusive
from tools import evaluate, runs
from transfer import results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs with k-NN along them, one of which a result tells of, and folders that are half written."""
    for name, top1 in (("a", 40.0), ("b", 50.0)):
        lines = [a_line(10, epoch=1.0, knn_top1=30.0), a_line(20, epoch=2.0, knn_top1=top1, linear_top1=60.0)]
        run = a_run(tmp_path / name, lines, overrides=["optim.epochs=2", f"optim.base_lr={top1 / 100}"])
        (run / "export").mkdir()
        (run / "export/trunk.pth").write_bytes(b"x" * 5000)
    (tmp_path / "b/export/trunk.pth").unlink()
    (tmp_path / "a/checkpoints").mkdir()
    for step in (10, 20):
        (tmp_path / f"a/checkpoints/step_{step:08d}.pth").touch()
    meta = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": str(tmp_path / "a")}
    (tmp_path / "results").mkdir()
    a_result(tmp_path / "a/knn.json", 45.0, "pretrained", pretraining=meta)
    for name, file, text in (
        ("no-step", "metrics.jsonl", ""),
        ("cut", "metrics.jsonl", '{"step": 3, "epo'),
        ("no-config", "metrics.jsonl", a_line(1)),
        ("odd-config", "metrics.jsonl", a_line(1)),
        ("begun", "history.jsonl", "[]\n"),
        ("waits", "job.json", '{"tool": "pretrain"}'),
        ("other", "job.json", '{"tool": "evaluate"}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "no-step/config.yaml").write_bytes((tmp_path / "a/config.yaml").read_bytes())
    (tmp_path / "odd-config/config.yaml").write_text("data: 7\n")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    runs.main([str(word) for word in words])
    return capsys.readouterr().out


def test_every_run_is_listed_as_it_is_also_one_half_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {Path(run["run"]).name: run for run in json.loads(said(capsys, "list", folder, "--format", "json"))}
    states = {"a": "completed", "b": "unfinished", "no-step": "unfinished"}
    damaged = ("begun", "cut", "no-config", "odd-config", "waits")
    assert {name: run["state"] for name, run in listed.items()} == states | dict.fromkeys(damaged, "damaged")
    assert "config.yaml cannot be read" in listed["no-config"]["why"] and "no metrics.jsonl" in listed["waits"]["why"]
    assert (listed["a"]["knn"], listed["b"]["knn"], listed["b"]["linear"]) == (45.0, 50.0, 60.0)  # a's from its result
    assert listed["a"]["checkpoint"].endswith("step_00000020.pth") and listed["b"]["checkpoint"] is None
    assert (listed["a"]["epoch"], listed["a"]["epochs"], listed["a"]["method"]) == (2.0, 2, "unigrad")
    files = [path for path in (folder / "a").rglob("*") if path.is_file()]
    assert listed["a"]["bytes"] == sum(path.stat().st_blocks * 512 for path in files) >= 5000
    lines = list(csv.DictReader(io.StringIO(said(capsys, "list", folder / "a", folder, "--format", "csv"))))
    assert [line["run"] for line in lines] == [run["run"] for run in listed.values()] and lines[0]["knn"] == "45.0"
    table = said(capsys, "list", folder).splitlines()
    assert table[0] == f"in {folder}" and table[3].split()[:3] == ["a", "completed", "unigrad"]
    assert [line.partition(":")[0] for line in table[-6:]] == sorted([*damaged, "no-step"])
    for words in (["list", folder / "absent"], ["list", folder / "results"], ["show", folder / "other"]):
        with pytest.raises(UserError, match="is not a folder|no run below|is no run folder"):
            said(capsys, *words)


def test_numbers_of_two_protocols_are_never_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(said(capsys, "best", folder, "--format", "json"))
    assert {(one["measured"], one["number"], Path(one["run"]).name) for one in best} == {
        ("k-NN: k=20, 64 px on toys", 45.0, "a"),
        ("knn_top1 along the run on photographs/train", 50.0, "b"),
    }
    (positive,) = json.loads(said(capsys, "best", folder, "--by", "linear", "--format", "json"))
    assert positive["number"] == 60.0
    with pytest.raises(UserError, match="did you mean 'effective_rank'|did you mean 'linear"):
        said(capsys, "best", folder, "--by", "linaer_top1")


@pytest.mark.slow
def test_what_k_nn_measures_of_a_trunk_is_listed_by_its_first_k(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint_both(folder / "colours", train=3, val=2)
    for name in ("a", "b"):
        trunk, meta = folder / name / "export/trunk.pth", {"step": 20, "epoch": 2.0, "run": str(folder / name)}
        export_trunk(trunk, build_trunk("resnet18")[0], "resnet18", meta)
        where = ["--checkpoint", trunk, "--data", folder / "colours", "--out", folder / name / "measured.json"]
        quick = ["image_size=16", "workers=0", "threads=1", "device=cpu", "k=1"]
        evaluate.main(["knn", *map(str, where), *quick])
    (folder / "a/knn.json").unlink()
    first = {name: next(iter(results.load(folder / name / "measured.json").metrics.items())) for name in ("a", "b")}
    listed = {Path(run["run"]).name: run for run in json.loads(said(capsys, "list", folder, "--format", "json"))}
    assert {name: listed[name]["knn"] for name in first} == {name: value for name, (_, value) in first.items()}
    (best,) = json.loads(said(capsys, "best", folder, "--by", "knn", "--format", "json"))
    assert best["number"] == max(first.values())[1] and f", {first['a'][0]} on colours" in best["measured"]
    for name in ("a", "b"):
        (folder / name / "measured.json").unlink()
        (folder / name / "metrics.jsonl").write_text(a_line(1, epoch=1 / 3))
    assert "0.33 of 2" in said(capsys, "list", folder / "a")
    with pytest.raises(UserError, match="no run there has a number of knn: measure one by `python tools/evaluate.py"):
        said(capsys, "best", folder, "--by", "knn")


def test_two_runs_differ_in_what_was_changed_and_in_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text, version in (("a", "x = 1\n", "2.0"), ("b", "x = 2\n", "2.1")):
        copy = folder / name / "code/0123"
        (copy / "pretrain").mkdir(parents=True)
        (copy / "pretrain/one.py").write_text(text)
        (copy / f"pretrain/only_{name}.py").touch()
        (copy / "snapshot.json").write_text(json.dumps({"commit": None, "packages": {"torch": version, "same": "1"}}))
    told = json.loads(said(capsys, "diff", folder / "a", folder / "b", "--format", "json"))
    assert told["configuration"] == {"optim.base_lr": [0.4, 0.5]}
    assert told["code"].pop("package torch") == ["2.0", "2.1"]
    assert told["code"].pop("file pretrain/only_a.py") == ["there", "absent"]
    assert told["code"].pop("file pretrain/only_b.py") == ["absent", "there"]
    ((changed, (first, second)),) = told["code"].items()
    assert changed == "file pretrain/one.py" and first != second
    assert told["numbers"].pop("knn_top1") == [40.0, 50.0]
    assert list(told["numbers"]) == ["knn (k-NN: k=20, 64 px, toys, seed 0) top1"]
    assert "optim.base_lr" in said(capsys, "diff", folder / "a", folder / "b")
    shown = said(capsys, "show", folder / "a")
    assert "optim.base_lr" in shown and "0.4" in shown
    assert json.loads(said(capsys, "show", folder / "no-config", "--format", "json"))["state"] == "damaged"
    for second, sentence in ((folder / "cut", "cannot be compared"), (folder / "a", "are the same folder")):
        with pytest.raises(UserError, match=sentence):
            said(capsys, "diff", folder / "a", second)


def test_only_a_run_that_is_over_is_removed_and_only_after_a_yes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link").symlink_to(folder / "a")
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))  # no terminal: nobody to ask
    with exclusive(folder / "b/.lock", lambda _: 0.0):
        for name, sentence in {
            "b": rf"is in progress \(running: process {os.getpid()} on ",
            "results": "is no run folder, and is left as it is",
            "absent": "is no run folder",
            "link": "is a link to",
            "a": "nobody can be asked here",
        }.items():
            with pytest.raises(UserError, match=sentence):
                said(capsys, "rm", folder / "a", folder / name)
    (folder / "b/.lock").unlink()
    assert sorted(folder.rglob("*")) == before
    (folder / "c").mkdir()
    (folder / "a").rename(folder / "c/a")
    (folder / "c/metrics.jsonl").touch()
    with pytest.raises(UserError, match="holds other runs"):
        said(capsys, "rm", folder / "c", "--yes")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert "nothing was removed" in said(capsys, "rm", folder / "c/a") and (folder / "c/a").is_dir()
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    said(capsys, "rm", folder / "c/a")
    said(capsys, "rm", folder / "cut", "--yes")
    assert not (folder / "c/a").exists() and not (folder / "cut").exists() and (folder / "b").is_dir()
