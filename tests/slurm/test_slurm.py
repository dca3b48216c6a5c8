"""The launcher on a real SLURM of two nodes: it forms one group, ends with a failing rank, and tells refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import launched, tiny_runs, tool_process
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools import prepare_data
from tools.launcher import cli, plan, submission
from tools.launcher.worker import exit_codes

ROWS = ("b_simclr", "j_vicreg_l2")
TINY = """
data: {workers: 0}
views: {size: 32}
model: {arch: timm/test_resnet, projector_depth: 2, projector_width: 32}
method: {balance: 1.6}
optim: {epochs: 2, warmup_epochs: 0, batch_size: 8, target_momentum: 0.9}
run: {device: cpu, precision: fp32, threads: 1}
"""
ONE_FAILS = """
import os, pathlib, sys, time
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], os.environ["MASTER_ADDR"], flush=True)
pathlib.Path("started-" + os.environ["RANK"]).touch()
while len(list(pathlib.Path().glob("started-*"))) < 2:  # a task that is ended before it starts says nothing
    time.sleep(0.05)
if os.environ["RANK"] == "1":
    sys.exit("error: this one fails")
time.sleep(600)
"""


def _launch(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/launch.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_two_nodes_pretrain_as_one_group(slurm: Path, tmp_path: Path) -> None:
    prepare_data.main(["synthetic", str(tmp_path / "data"), "--train", "16", "--val", "8", "--scenes", "1"])
    (tmp_path / "tiny.yaml").write_text(TINY)
    arguments = ["pretrain", "--nodes", "2", "--tasks", "1", "--gpus", "0", "--time", "10m", "--run-dir", "100% run"]
    arguments += ["--follow", "--config", "tiny.yaml", f"data.root={tmp_path / 'data/classes/train'}"]
    done = _launch(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 x cpu" in done.stdout
    run = tmp_path / "100% run"
    job = json.loads((run / "job.json").read_text())
    assert job["cluster"] == "slurm" and job["nodes"] == 2 and Path(job["log_of_rank_0"]).is_file()
    exit_codes = [json.loads(path.read_text()) for path in sorted((run / "jobs").glob("*_exit.json"))]
    assert [(ended["rank"], ended["code"]) for ended in exit_codes] == [(0, 0), (1, 0)]
    assert (run / "export/trunk.pth").is_file()
    told = json.loads(_launch("status", "100% run", "--json", folder=tmp_path).stdout)
    assert (told["state"], told["step"], told["steps"], told["epoch"]) == ("completed", 4, 4, 2)
    promised = _launch(*arguments, "--dry-run", folder=tmp_path).stdout
    submitted = next((run / "jobs").glob("*_submission.sh")).read_text()
    assert submitted.strip() in promised


def test_a_comparison_is_a_job_for_each_row_and_a_table_of_all(slurm: Path, tmp_path: Path) -> None:
    prepare_data.main(["synthetic", str(tmp_path / "data"), "--train", "16", "--val", "8", "--scenes", "1"])
    (tmp_path / "tiny.yaml").write_text(TINY.replace("method: {balance: 1.6}\n", ""))
    command = [sys.executable, str(ROOT / "tools/compare.py"), "--cluster", "slurm", "--gpus", "0"]
    command += ["--config", str(ROOT / "configs/pretrain/table2"), "--rows", ",".join(ROWS)]
    command += ["--with", "tiny.yaml", "--data", "data/classes", "--out", "out", "--tasks", "knn"]
    done = tool_process.run(command, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {json.loads((tmp_path / "out" / f"{row}-0" / "job.json").read_text())["job_id"] for row in ROWS}
    assert len(jobs) == len(ROWS)
    table = (tmp_path / "out/table.md").read_text()
    assert all(row in table for row in (*ROWS, "untrained"))


def test_a_failing_rank_ends_the_job_and_is_named(slurm: Path, tmp_path: Path) -> None:
    """Without accounting, and while rank 0 would have slept for ten minutes."""
    record = launched.start("slurm", ONE_FAILS, tmp_path / "run", nodes=2, retries=0)
    assert submission.wait(record) == 1
    ended = exit_codes.read_exits(record.logs, record.job_id, 2)
    assert 0 not in ended or ended[0].code != 0  # it was ended, and did not sleep to its end
    told = exit_codes.first_failure(ended, record.job_id, 2, record.logs)
    assert told and told[1].startswith("rank 1 of 2") and "this one fails" in told[1]
    assert "rank 0 of 2 127.0.0.1" in record.log(0).read_text()


def test_a_cancelled_job_is_a_failure_and_not_a_wait_for_ever(slurm: Path, tmp_path: Path) -> None:
    record = launched.start("slurm", "import time; time.sleep(600)", tmp_path / "run")
    subprocess.run(["scancel", record.job_id], check=True)
    assert submission.wait(record) == 1


@pytest.mark.parametrize(
    ("option", "remedy"),
    [("--partition=nowhere", "give --partition NAME"), ("--slurm=nosuchoption=1", "--cluster local")],
)
def test_what_slurm_refuses_is_told_in_one_sentence(slurm: Path, tmp_path: Path, option: str, remedy: str) -> None:
    (tmp_path / "images").mkdir()
    done = _launch(option, "--gpus", "0", "data.root=images", "--time", "10m", folder=tmp_path)
    assert done.returncode == 2 and "error: SLURM refused the job" in done.stderr and remedy in done.stderr


def test_ranks_start_as_a_site_needs_it(slurm: Path, tmp_path: Path) -> None:
    """What --setup exports reaches every node, --python is who runs the ranks, and --srun reaches srun."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexport STARTED_BY="$0"\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    code = "import os; print(*(os.environ[name] for name in ('LOADED', 'STARTED_BY', 'SLURM_JOB_NAME')))"
    asked = {"setup": ["LOADED='a b'", "export LOADED  # as modules do"], "python": str(interpreter), "nodes": 2}
    good = launched.start("slurm", code, tmp_path / "run", starter={"job-name": "mine"}, **asked)
    bad = launched.start("slurm", code, tmp_path / "bad", setup=["module load nosuch"], nodes=2, retries=3)
    assert submission.wait(good) == 0
    assert all(f"a b {interpreter} mine" in good.log(rank).read_text().splitlines() for rank in (0, 1))
    assert submission.wait(bad) == 1 and not bad.log(1).exists()
    told = launched.told(tmp_path / "bad")["why"]
    assert "last words: error: --setup 'module load nosuch' ended with exit code 127 on " in told
    with pytest.raises(UserError, match="has no pyxis"):  # by the real srun
        plan.plan(*cli.split_arguments(["--container-image", "pytorch", "data.root=images"]))


def test_eight_nodes_are_one_process_with_the_same_global_batch(slurm: Path, tmp_path: Path) -> None:
    """Two epochs in float32: only the order of sums over ranks differs."""
    (tmp_path / "images").mkdir()
    tiny_runs.write_images(tmp_path / "images")
    words = [*tiny_runs.TINY, "optim.batch_size=16", "optim.epochs=2", "run.threads=1", f"data.root={tmp_path}/images"]
    words += [tiny_runs.RESNET18]  # wide enough for its sums not to depend on their order by more than the bounds
    config = ["--config", str(ROOT / "tests/data/tiny_pretraining.yaml")]
    options = ["--nodes", "8", "--gpus", "0", "--time", "20m", "--run-dir", "eight", "--follow"]
    done = _launch(*options, *config, *words, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 x cpu" in done.stdout
    alone = [sys.executable, str(ROOT / "tools/pretrain.py"), *config, *words, "run_dir=one"]
    assert tool_process.run(alone, cwd=tmp_path).returncode == 0
    one, eight = (tiny_runs.last_checkpoint(tmp_path / name) for name in ("one", "eight"))
    assert one["step"] == eight["step"] == 2
    for name, value in one["model"].items():
        torch.testing.assert_close(eight["model"][name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    for lines in zip(tiny_runs.curves(tmp_path / "one"), tiny_runs.curves(tmp_path / "eight"), strict=True):
        assert lines[0]["positive"] == pytest.approx(lines[1]["positive"], rel=1e-4)
