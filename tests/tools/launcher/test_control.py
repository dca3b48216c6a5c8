"""Looking after jobs of this machine, and run folders that hold none."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from helpers import launched, tiny_runs
from pretrain.engine.monitor.metrics_file import last_line, seconds_left
from pretrain.runtime.errors import UserError
from tools.launcher import control, job_record, status
from tools.launcher.worker import exit_codes

DEMO = "configs/pretrain/demo.yaml"
WAITS = 'import time\nprint("hello", flush=True)\ntime.sleep(600)'


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, "there is no"),
        ("[]", "holds list"),
        ("{", "is not what"),
        ('{"cluster": "slurm"}', "lacks 'job_id'"),
        ('{"cluster": "slurm", "job_id": "--all"}', "job_id '--all'"),
    ],
)
def test_a_folder_of_no_job_is_told_in_one_sentence(tmp_path: Path, written: str | None, told: str) -> None:
    if written is not None:
        (tmp_path / "job.json").write_text(written)
    for command in control.COMMANDS:
        with pytest.raises(UserError, match=told):
            control.main([command, str(tmp_path)])
    done = launched.run("status", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_running_then_failed_with_the_last_words_of_the_rank(tmp_path: Path) -> None:
    code = 'import os, sys, time\nprint("hello")\nif os.environ["RANK"] == "1":\n    sys.exit("no more paper")'
    with launched.here(code, tmp_path / "run", tasks=2) as record:
        assert launched.state(record) == "running"
        done = launched.run("logs", "-f", tmp_path / "run")
    assert done.returncode == 1 and done.stdout == "hello\n"
    assert "failed: rank 1 of 2" in done.stderr and done.stderr.endswith("last words: no more paper\n")
    assert launched.run("logs", "--rank", "1", tmp_path / "run").stdout == "hello\nno more paper\n"
    with pytest.raises(UserError, match="ranks 0 to 1"):
        control.main(["logs", "--rank", "2", str(tmp_path / "run")])


def test_a_job_whose_process_is_gone_has_vanished_and_another_process_is_not_it(tmp_path: Path) -> None:
    with launched.here(WAITS, tmp_path / "run") as record:
        stranger = dataclasses.replace(record, job_id=str(os.getpid()))
        assert launched.state(record) == "running" and launched.state(stranger) == "vanished"
        assert "its process is gone, and rank 0 of 1" in status.job_state(stranger).why
        elsewhere = status.job_state(dataclasses.replace(record, host="elsewhere"))
        assert elsewhere.word == "unknown" and "elsewhere" in elsewhere.why and not elsewhere.over


def test_cancelling_ends_every_rank_and_is_no_failure(tmp_path: Path) -> None:
    with launched.here(WAITS, tmp_path / "run", tasks=2) as record:
        launched.until(lambda: all(record.log(rank).is_file() and record.log(rank).read_text() for rank in (0, 1)))
        elsewhere = dataclasses.replace(record, host="elsewhere")
        elsewhere.write()
        with pytest.raises(UserError, match="cannot be cancelled from here"):
            control.main(["cancel", str(tmp_path / "run")])
        record.write()
        first, second = (launched.run("cancel", tmp_path / "run") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.endswith("is over: cancelled\n") and second.stdout.endswith("is over already: cancelled\n")
    assert {ended.code for ended in exit_codes.read_exits(record.logs, record.job_id, 2).values()} == {128 + 15}


def _cancelled_after(steps: int, words: list[str], folder: Path, run_dir: Path) -> str:
    """Start the launcher in `folder`, cancel its job once `steps` are done; what rank 0 said."""
    process = subprocess.Popen(launched.command(*words), cwd=folder, stdout=subprocess.PIPE, text=True)
    launched.until(lambda: process.poll() is not None or (last_line(run_dir) or {"step": 0})["step"] >= steps, 120)
    assert "is running" in launched.run("resume", run_dir).stderr
    assert launched.run("cancel", run_dir).stdout.endswith("is over: cancelled\n")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 75 and f"`python tools/launch.py resume {run_dir}` goes on" in said
    return said


def test_resuming_a_pretraining_goes_on_from_its_newest_checkpoint_wherever_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tiny_runs.write_images(tmp_path / "images")
    words = ["--cluster", "local", "--gpus", "0", "--run-dir", "run", "--config", str(tiny_runs.ROOT / DEMO)]
    words += [*tiny_runs.TINY, "optim.epochs=3000", "data.root=images"]  # both folders by relative paths
    run_dir = tmp_path / "run"
    assert "resumed" not in _cancelled_after(4, words, tmp_path, run_dir)
    step = last_line(run_dir)["step"]
    said = _cancelled_after(step + 3, ["resume", str(run_dir)], run_dir, run_dir)
    assert (
        f"resumed from {run_dir}/checkpoints/step_{step:08d}.pth" in said
        and f"6000 steps of 8, from step {step}" in said
    )


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with launched.here("pass", tmp_path / "run"):
        pass
    words = [*launched.command("status", tmp_path / "run", "--json")]
    done = subprocess.run(f"{shlex.join(words)} | true", shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with launched.here("pass", tmp_path / "run") as record:
        assert job_record.read_record(tmp_path / "run") == record


def test_progress_is_the_last_whole_line(tmp_path: Path) -> None:
    assert last_line(tmp_path) is None
    lines = [{"step": step, "steps": 2000, "batch_size": 32, "images_per_second": 10.0} for step in range(1, 1501)]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "metrics.jsonl").write_text(text + '\n{"step": 15')
    assert last_line(tmp_path) == lines[-1]
    assert seconds_left(lines[-1]) == 500 * 3.2  # 500 steps of 32 images at 10 a second
