"""A pipeline is checked whole before it starts, runs plain commands in order, and stops at the first that fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools.launcher import control
from tools.launcher.pipeline import processes, run, spec

CONFIGS = ROOT / "configs"
SMALL = "--train 8 --val 8 --scenes 1 --val-scenes 1"
GOOD = f"""
# Two small synthetic sets.
variables: {{out: OUT, classes: 4}}
stages:
  - name: set-${{seed}}
    tool: prepare_data
    for: {{seed: [0, 1]}}
    parallel: 2
    args:
      - synthetic ${{out}}/set-${{seed}} --classes ${{classes}} --seed ${{seed}}
      - {SMALL}
  - name: again
    tool: prepare_data
    args: ["synthetic", "${{out}}/set-1", "--classes=${{classes}} --seed=1 {SMALL}"]
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text.replace("OUT", str(tmp_path / "out")))
    return path


def _run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/launch.py"), "pipeline", "--config", str(path), *arguments]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=600)


def test_stages_run_in_order_and_leave_logs(tmp_path: Path) -> None:
    done = _run(_write(tmp_path, GOOD), "--cluster", "local", "classes=5")
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    for seed in (0, 1):
        stamp = json.loads((out / f"set-{seed}" / "synthetic.json").read_text())
        assert stamp["arguments"]["seed"] == seed and stamp["arguments"]["classes"] == 5
    assert sorted(path.name for path in (out / "logs").glob("*.log")) == ["again.log", "set-0.log", "set-1.log"]
    assert "already there" in (out / "logs/again.log").read_text()  # so the first stage had ended before
    assert done.stdout.splitlines()[-1].endswith("left as it is")  # the last stage's own words end the output
    assert "[3/3] again" in done.stdout


def test_what_ended_well_is_not_done_again_until_what_it_needs_or_its_arguments_change(tmp_path: Path) -> None:
    path, words = _write(tmp_path, GOOD), ("--cluster", "local")
    assert _run(path, *words).returncode == 0

    def done_before(*more: str) -> list[str]:
        said = _run(path, *words, *more)
        assert said.returncode == 0, said.stderr
        return re.findall(r"\] (\S+): done before", said.stdout)

    assert done_before() == ["set-0", "set-1", "again"]
    assert done_before("--again") == []
    (tmp_path / "out/logs/set-1.done").unlink()  # as if it had failed
    assert done_before() == ["set-0"]
    path.write_text(path.read_text().replace("--classes=${classes} --seed=1", "--seed=1 --classes=${classes}"))
    assert done_before() == ["set-0", "set-1"]


def test_a_stage_can_be_left_out_and_none_waits_for_it(tmp_path: Path) -> None:
    found = spec.read_pipeline(_write(tmp_path, GOOD), [], "local")[1]
    (left,) = spec.without(found, ["set-${seed}"])
    assert left.name == "again" and left.after == () and found[1].after == ("set-${seed}",)
    for names, told in ((["sat-${seed}"], "did you mean 'set-"), ([stage.name for stage in found], "leaves no stage")):
        with pytest.raises(UserError, match=told):
            spec.without(found, names)
    suite = spec.read_pipeline(CONFIGS / "pipeline/imagenet.yaml", ["checkpoint=mine.pth", "out=o"], "slurm")[1]
    words = [word for stage in spec.without(suite, ["pretrain"]) for one in stage.commands for word in one.words]
    assert "mine.pth" in words and not any("o/pretrain" in word for word in words)


def test_a_printed_command_can_be_copied(tmp_path: Path) -> None:
    shown = _run(_write(tmp_path, GOOD), "--cluster", "local", "--dry-run").stdout.splitlines()
    assert len(shown) == 3 and not (tmp_path / "out").exists()
    copied = subprocess.run(shown[0], shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert copied.returncode == 0 and (tmp_path / "out/set-0/synthetic.json").is_file()


def test_first_failure_stops_and_is_told_with_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["set-0", "set--1", "set-1", "again"]
    bad = GOOD.replace("parallel: 2", "parallel: 1").replace("for: {seed: [0, 1]}", "for: {seed: [0, -1, 1]}")
    done = _run(_write(tmp_path, bad), "--cluster", "local")
    assert done.returncode == 2
    assert f"error: stage 'set--1' ended with exit code 2; its log: {tmp_path / 'out/logs/set--1.log'}" in done.stderr
    assert "--seed -1 is below 0" in done.stderr
    assert (tmp_path / "out/set-0").is_dir() and not (tmp_path / "out/set-1").exists()
    told = _told(tmp_path / "out", capsys)
    states = ["completed", "failed", "not started", "not started"]
    assert {name: one["state"] for name, one in told.items()} == dict(zip(names, states, strict=True))
    assert "--seed -1 is below 0" in told["set--1"]["why"]
    (tmp_path / "out/pipeline.json").unlink()  # as earlier code left a folder
    assert {name: one["state"] for name, one in _told(tmp_path / "out", capsys).items()} == dict(
        zip(names[1::-1], states[1::-1], strict=True)
    )
    for command, said in {"logs": "read the logs of its stages", "resume": "type that again"}.items():
        with pytest.raises(UserError, match=said):
            control.main([command, str(tmp_path / "out")])


def _told(out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """What `status` says of a pipeline, as JSON, in the same order as its table."""
    capsys.readouterr()
    control.main(["status", "--json", str(out)])
    told = json.loads(capsys.readouterr().out)
    control.main(["status", str(out)])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(told)
    return told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tool: prepare_data\n", "tool: prepare_dta\n", "did you mean 'prepare_data'"),
        ("parallel:", "paralel:", "did you mean 'parallel'"),
        ("variables:", "variable:", "did you mean 'variables'"),
        ("set-${seed} --classes", "set-${sed} --classes", "did you mean 'seed'"),
        ("parallel: 2", "parallel: two", "whole number from 1 up"),
        ("for: {seed: [0, 1]}", "for: {seed: 3}", "list of at least one value"),
        ("for: {seed: [0, 1]}", "for: {out: [0, 1], seed: [0]}", "rename one of them"),
        ("name: set-${seed}", "name: set", "two commands are named 'set'"),
        ("name: set-${seed}", "name: set/${seed}", "names a log file"),
        ("{out: OUT, classes: 4}", "{classes: 4}", "'variables' lacks 'out'"),
        ("{out: OUT, classes: 4}", "{out: OUT, classes: [4]}", "one plain value"),
        ("--classes=", "--config=absent.yaml --classes=", "--config 'absent.yaml' is not a file"),
        ("parallel: 2", "nodes: 2", "needs --cluster slurm"),
        ("  - name: again", "  - name: again\n    after: [set]", "names 'set', no stage above it"),
        ("stages:", "stages: 7\nrest:", "no list 'stages'"),
        ("stages:", "stages: [", "not valid YAML"),
    ],
)
def test_every_mistake_is_told_before_the_first_stage(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    path = _write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=told.replace("(", r"\(")):
        run.main(["--config", str(path), "--cluster", "local"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["demo.yaml", *(f"pipeline/{path.name}" for path in CONFIGS.glob("pipeline/*.yaml"))])
@pytest.mark.parametrize("where", ["local", "slurm"])
def test_shipped_pipelines_are_valid(name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert (CONFIGS / name).read_text().startswith("#")
    if where == "local" and "nodes:" in (CONFIGS / name).read_text():
        return  # for a cluster only
    assert spec.read_pipeline(CONFIGS / name, [], where)[1]


def test_misspelt_override_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'classes'"):
        run.main(["--config", str(_write(tmp_path, GOOD)), "--cluster", "local", "clases=3"])


def test_loops_expand_to_every_combination_and_shells_quote(tmp_path: Path) -> None:
    entry = {"name": "${a}${b}", "tool": "report", "args": ["'two words' ${a}"], "for": {"a": [1, 2], "b": ["x", "y"]}}
    stage = spec.read_stage(entry, {"out": str(tmp_path)}, "here", "local")
    assert [command.name for command in stage.commands] == ["1x", "1y", "2x", "2y"]
    assert [command.words[2:] for command in stage.commands[::2]] == [("two words", "1"), ("two words", "2")]


def test_several_tasks_and_slurm_go_through_the_launcher(tmp_path: Path) -> None:
    entry = {"name": "p", "tool": "train_detection", "args": ["--out x"], "tasks": 2}
    words = spec.read_stage(entry, {"out": "o"}, "here", "local").commands[0].words
    assert Path(words[1]).name == "launch.py" and words[2] == "detection" and words[-3:] == ("--", "--out", "x")
    assert "--tasks=2" in words and "--cluster=local" in words and "--follow" in words
    del entry["tasks"]
    assert "--cluster=slurm" in spec.read_stage(entry, {"out": "o"}, "here", "slurm").commands[0].words


def test_cores_are_shared_by_what_runs_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    words = (sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])")
    for parallel, tasks, wanted in ((1, 1, "8"), (2, 1, "4"), (2, 2, "2"), (16, 1, "1")):
        list(processes.run_commands([processes.Command("x", words, tmp_path / "x.log")], parallel, tasks, 0, 1))
        assert (tmp_path / "x.log").read_text().strip() == wanted


def test_commands_run_at_the_same_time_and_end_together(tmp_path: Path) -> None:
    """The first waits for the second's file, so one after the other would never end; then the third is ended."""
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'here')!r}).exists(): time.sleep(0.05)"
    touch = f"import pathlib; pathlib.Path({str(tmp_path / 'here')!r}).touch()"
    commands = [
        processes.Command(name, (sys.executable, "-c", code), tmp_path / f"{name}.log")
        for name, code in (("wait", wait), ("touch", touch))
    ]
    list(processes.run_commands(commands, 2, 1, 0, 2))
    sleeper = f"import os, time; print(os.getpid(), flush=True); time.sleep(600)  # {tmp_path}"
    fails = "import sys, time; time.sleep(1); sys.exit(7)"
    commands = [
        processes.Command(name, (sys.executable, "-c", code), tmp_path / f"{name}.log")
        for name, code in (("sleeper", sleeper), ("fails", fails))
    ]
    with pytest.raises(SystemExit) as ended:
        list(processes.run_commands(commands, 2, 1, 0, 2))
    assert ended.value.code == 7
    assert not Path(f"/proc/{(tmp_path / 'sleeper.log').read_text().strip()}").exists()


def test_a_pipeline_that_runs_is_told_and_cancelled_with_its_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = GOOD.replace(SMALL, "--train 1000000 --val 8", 1)
    command = [sys.executable, str(ROOT / "tools/launch.py"), "pipeline", "--cluster", "local"]
    process = subprocess.Popen([*command, "--config", str(_write(tmp_path, endless))], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("out/.set-*.part/classes/train/*/*.jpg")):
        assert process.poll() is None
        time.sleep(0.1)
    out = tmp_path / "out"
    assert [one["state"] for one in _told(out, capsys).values()] == ["running", "running", "pending"]
    for refused in (lambda: control.main(["resume", str(out)]), lambda: _main(tmp_path / "pipeline.yaml")):
        with pytest.raises(UserError, match=rf"(runs|runs in {out} already) \(.*process {process.pid}"):
            refused()
    control.main(["cancel", str(out)])
    assert "is over\n" in capsys.readouterr().out
    assert process.wait(120) == 128 + signal.SIGTERM
    others = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_ours(path, str(tmp_path))]
    assert others == []


def _main(path: Path) -> None:
    run.main(["--config", str(path), "--cluster", "local"])


def _is_ours(path: Path, mark: str) -> bool:
    try:
        return mark.encode() in path.read_bytes() and b"prepare_data" in path.read_bytes()
    except OSError:
        return False


def test_quotes_without_an_end_and_endless_entries_are_one_short_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the argument '--out \"a' is no words of a shell \(no closing quotation\)"):
        spec.read_stage({"name": "p", "tool": "report", "args": ['--out "a']}, {"out": "o"}, "p.yaml", "local")
    endless: list[object] = []
    for _ in range(40):  # as aliases of YAML make them, each of ten times the one before
        endless = [endless] * 10
    for entry in (
        {"name": endless},
        *({"name": "p", "tool": "report"} | {key: endless} for key in spec.STAGE_KEYS[1:]),
    ):
        with pytest.raises(UserError) as caught:
            spec.read_stage(entry, {"out": "o"}, "p.yaml", "local")
        assert len(str(caught.value)) < 1000
