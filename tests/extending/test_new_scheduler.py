"""The recipe "A new scheduler" of docs/extending.md: one file, and jobs start, are looked after, and train."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers import launched, recipes, tiny_runs
from pretrain.engine.monitor.metrics_file import last_line

HEADING = "A new scheduler"
WORDS = [*tiny_runs.TINY, "run.threads=1"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipes.carry_out(HEADING, tmp_path_factory.mktemp("scheduler"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_runs.write_images(tmp_path_factory.mktemp("images"))


def _launch(copy: Path, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = recipes.run_in(copy, "tools/launch.py", *map(str, words))
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _start(copy: Path, images: Path, run_dir: Path, *words: str) -> None:
    options = ["--cluster", "background", "--gpus", "0", "--config", "configs/pretrain/demo.yaml"]
    _launch(copy, *options, *words, f"data.root={images}", f"run_dir={run_dir}")


def _told(copy: Path, run_dir: Path) -> dict[str, Any]:
    return json.loads(_launch(copy, "status", "--json", run_dir).stdout)


def _processes(run_dir: Path, variable: str = "") -> list[int]:
    """Processes whose command line speaks of `run_dir` and whose environment holds `variable`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(run_dir).encode() in (process / "cmdline").read_bytes()
            if named and variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _step(run_dir: Path) -> int:
    return int((last_line(run_dir) or {"step": 0})["step"])


def test_the_recipe_is_one_file_that_the_command_line_knows(copy: Path) -> None:
    assert list(recipes.files_of(HEADING)) == ["tools/launcher/schedulers/background.py"]
    assert "background: start here and return at once" in " ".join(_launch(copy, "--help").stdout.split())


def test_a_pretraining_ends_as_one_that_no_scheduler_started(copy: Path, images: Path, tmp_path: Path) -> None:
    _start(copy, images, tmp_path / "run", "--tasks", "1", *WORDS)
    followed = _launch(copy, "logs", "-f", tmp_path / "run")
    assert "on 1 x cpu" in followed.stdout
    assert _told(copy, tmp_path / "run")["state"] == "completed"
    alone = [f"data.root={images}", f"run_dir={tmp_path / 'alone'}"]
    done = recipes.run_in(copy, "tools/pretrain.py", "--config", "configs/pretrain/demo.yaml", *WORDS, *alone)
    assert done.returncode == 0, done.stderr
    tiny_runs.assert_same_run(tmp_path / "run", tmp_path / "alone")


def test_a_job_of_two_ranks_starts_again_after_a_crash_and_is_cancelled(
    copy: Path, images: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    _start(copy, images, run_dir, "--tasks", "2", *WORDS, "optim.epochs=3000")
    try:
        launched.until(lambda: _step(run_dir) >= 4, 120)
        assert _told(copy, run_dir)["state"] == "running"
        refused = _launch(copy, "resume", run_dir, code=2)
        assert "can be resumed once it is over" in refused.stderr
        os.kill(min(_processes(run_dir, "RANK=1")), signal.SIGKILL)  # the tool, not a process that it started
        launched.until(lambda: _told(copy, run_dir)["retries"] == 1)
        before = _step(run_dir)
        launched.until(lambda: _step(run_dir) > before + 2, 120)
    finally:
        _launch(copy, "cancel", run_dir)
    assert _told(copy, run_dir)["state"] == "cancelled" and _processes(run_dir) == []
    said = _launch(copy, "logs", run_dir).stdout
    assert "on 2 x cpu" in said and "(SIGKILL)" in said and "resumed from" in said and "stopped by SIGTERM" in said


def test_bad_input_fails_the_job_and_is_told_in_its_sentence(copy: Path, tmp_path: Path) -> None:
    words = ["prepare_data", "--cluster", "background", "--run-dir", tmp_path / "run", "synthetic", tmp_path / "set"]
    _launch(copy, *words, "--seed=-1")
    failed = _launch(copy, "logs", "-f", tmp_path / "run", code=2)
    assert "failed: rank 0 of 1" in failed.stderr and "--seed -1 is below 0" in failed.stderr
