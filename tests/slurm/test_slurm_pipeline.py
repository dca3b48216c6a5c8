"""Pipelines and arrays on a real SLURM: jobs that wait for each other, are done once, and are told of in one table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from helpers import launched
from pretrain.runtime.errors import UserError
from tools.launcher import control, job_record, status
from tools.launcher.pipeline import dependent_jobs

PIPELINE = """
variables: {out: OUT, classes: 4}
stages:
  - name: set-${seed}
    tool: prepare_data
    for: {seed: [0, 1]}
    parallel: 1
    time: 10m
    args: ["synthetic ${out}/set-${seed} --classes ${classes} --seed ${seed} --train 8 --val 8 --scenes 1"]
  - name: other
    tool: prepare_data
    after: []
    time: 10m
    cpus: 2
    args: ["synthetic ${out}/other --seed SEED --train 8 --val 8 --scenes 1"]
  - name: last
    tool: prepare_data
    after: ["set-${seed}", other]
    time: 10m
    args: ["synthetic ${out}/last --train 8 --val 8 --scenes 1"]
"""


def _pipeline(folder: Path, seed: int = 0) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(PIPELINE.replace("OUT", str(folder / "out")).replace("SEED", str(seed)))
    return path


def _over(out: Path) -> dict[str, str]:
    """The state of every stage, once all are over."""
    stages = dependent_jobs.read_stages(out)
    launched.until(lambda: all(status.job_state(record).over for _, record in stages), 240)
    return {name: status.job_state(record).word for name, record in stages}


def test_stages_wait_for_those_they_need_and_are_done_once(slurm: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "out", ("pipeline", "--config", _pipeline(tmp_path, -1), "--partition", "low")
    first = launched.run(*words)
    assert first.returncode == 0, first.stderr
    sets, other, last = (record for _, record in dependent_jobs.read_stages(out))
    script = (last.logs / f"{last.job_id}_submission.sh").read_text()
    assert f"--dependency=afterok:{sets.job_id}:{other.job_id}" in script and "--partition=low" in script
    assert "--array=0-1%1" in (sets.logs / f"{sets.job_id}_submission.sh").read_text()
    assert "--cpus-per-task=2" in (other.logs / f"{other.job_id}_submission.sh").read_text()
    # a seed below 0 is refused: its stage fails, and what needs it is dropped rather than waiting for ever
    assert _over(out) == {"set-${seed}": "completed", "other": "failed", "last": "cancelled"}
    shown = launched.run("status", out).stdout
    assert "set-${seed}" in shown and "--seed -1 is below 0" in shown
    assert launched.run("logs", out).returncode == 2
    _pipeline(tmp_path)
    again = launched.run("resume", out)
    assert again.returncode == 0 and "set-${seed}: done before" in again.stdout, again.stderr
    assert _over(out) == {"set-${seed}": "completed", "other": "completed", "last": "completed"}
    assert [record.job_id for _, record in dependent_jobs.read_stages(out)][0] == sets.job_id
    assert (out / "last/synthetic.json").is_file()
    assert launched.run(*words).stdout.count("done before") == 3


def test_trials_are_one_array_with_a_state_each(slurm: Path, tmp_path: Path) -> None:
    words = ["prepare_data", "--trials", "3", "--run-dir", tmp_path / "run", "--time", "10m", "synthetic"]
    words += [tmp_path / "set-{trial}", "--train", "8", "--val", "8", "--scenes", "1"]
    assert launched.run(*words, "--seed={trial}").returncode == 0
    record = job_record.read_record(tmp_path / "run")
    launched.until(lambda: status.job_state(record).over, 120)
    assert str(status.job_state(record)) == "completed"
    for trial in range(3):
        assert json.loads((tmp_path / f"set-{trial}/synthetic.json").read_text())["arguments"]["seed"] == trial
        assert f"set-{trial}" in launched.run("logs", "--trial", trial, tmp_path / "run").stdout
    with pytest.raises(UserError, match="has 3 job"):
        control.main(["logs", "--trial", "3", str(tmp_path / "run")])


def test_cancelling_a_pipeline_ends_every_stage(slurm: Path, tmp_path: Path) -> None:
    subprocess.run(["scontrol", "update", "PartitionName=low", "State=DOWN"], check=True)  # so that all of it waits
    try:
        assert launched.run("pipeline", "--config", _pipeline(tmp_path), "--partition", "low").returncode == 0
        assert launched.run("cancel", tmp_path / "out").returncode == 0
        assert set(_over(tmp_path / "out").values()) == {"cancelled"}
    finally:
        subprocess.run(["scontrol", "update", "PartitionName=low", "State=UP"], check=True)
