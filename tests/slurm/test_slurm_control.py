"""Looking after jobs on a real SLURM of two nodes, whose accounting is off: every state, and what each command says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path

from helpers import launched
from tools.launcher import job_record

LINE = {"step": 30, "steps": 90, "batch_size": 64, "epoch": 1.5, "images_per_second": 32.0}
WAITS = """
import os, pathlib, sys, time
print("hello from rank", os.environ["RANK"], flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("goodbye", flush=True)
"""
FAILS = 'import os, sys, time\nif os.environ["RANK"] == "1":\n    sys.exit("error: no more paper")\ntime.sleep(600)'


def test_pending_then_running_then_completed(slurm: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "my run"
    record = launched.start("slurm", WAITS, run_dir, nodes=2, extra={"hold": True})
    pending = launched.told(run_dir)
    assert (pending["state"], pending["why"], pending["node_list"]) == ("pending", "JobHeldUser", None)
    without = launched.run("logs", run_dir)
    assert without.returncode == 0 and without.stderr.count("\n") == 1 and "is pending: JobHeldUser;" in without.stderr
    follows = subprocess.Popen(
        launched.command("logs", "-f", "--rank", "1", run_dir), stdout=subprocess.PIPE, text=True
    )
    subprocess.run(["scontrol", "release", record.job_id], check=True)
    launched.until(lambda: record.log(1).is_file() and "hello" in record.log(1).read_text())
    (run_dir / "metrics.jsonl").write_text(json.dumps(LINE | {"time": time.time() - 100}) + "\n")
    before = launched.told(run_dir)  # a line of an earlier job tells its steps, but not how fast this one is
    assert (before["step"], before["images_per_second"], before["eta_seconds"]) == (30, None, None)
    assert 100 <= before["seconds_since_last_line"] < 160
    (run_dir / "metrics.jsonl").write_text(json.dumps(LINE | {"time": time.time()}) + '\n{"step": 31, "epo')
    running = launched.told(run_dir)
    assert (running["state"], running["node_list"], running["restarts"]) == ("running", "127.0.0.[1-2]", 0)
    assert (running["step"], running["steps"], running["eta_seconds"]) == (30, 90, 60 * 64 / 32)
    shown = launched.run("status", run_dir).stdout
    assert "30 of 90, epoch 1.50" in shown and "0:02:00" in shown and str(record.log(0)) in shown
    (tmp_path / "go").touch()
    assert follows.communicate(timeout=60)[0] == "hello from rank 1\ngoodbye\n" and follows.returncode == 0
    completed = launched.told(run_dir)
    assert (completed["state"], completed["step"], completed["eta_seconds"]) == ("completed", 30, None)
    forgotten = dataclasses.replace(record, launch=dataclasses.replace(record.launch, run_dir=tmp_path / "other"))
    assert not forgotten.ask().alive and launched.state(forgotten) == "completed"  # by what its ranks told


def test_a_failed_job_names_its_rank_and_gives_its_exit_code(slurm: Path, tmp_path: Path) -> None:
    launched.start("slurm", FAILS, tmp_path / "run", nodes=2)
    follows = launched.run("logs", "-f", tmp_path / "run")
    assert follows.returncode == 1 and "failed: rank 1 of 2" in follows.stderr.splitlines()[-1]
    failed = launched.told(tmp_path / "run")
    assert failed["state"] == "failed" and failed["why"].endswith("last words: error: no more paper")


def test_a_job_that_slurm_does_not_know_has_vanished_and_is_not_waited_for(slurm: Path, tmp_path: Path) -> None:
    """Nor is another one that got its number, as after SLURM has lost its state and counts anew."""
    record = launched.start("slurm", WAITS, tmp_path / "run", extra={"hold": True})
    others = dataclasses.replace(record.launch, run_dir=tmp_path / "old")
    for lost in (dataclasses.replace(record, job_id="999999"), dataclasses.replace(record, launch=others)):
        (lost.run_dir / "job.json").unlink()
        lost.write()
        vanished = launched.told(tmp_path / "run")
        assert vanished["state"] == "vanished" and "SLURM no longer knows the job" in vanished["why"]
    assert launched.run("logs", "-f", tmp_path / "run").returncode == 1
    subprocess.run(["scancel", record.job_id], check=True)
    assert launched.state(record) == "cancelled"


def test_a_restart_is_counted_and_cancelling_ends_a_job_once(slurm: Path, tmp_path: Path) -> None:
    record = launched.start("slurm", WAITS, tmp_path / "run")
    launched.until(lambda: record.log(0).is_file() and "hello" in record.log(0).read_text())
    subprocess.run(["scontrol", "requeue", record.job_id], check=True)
    launched.until(lambda: launched.state(record) == "pending")
    assert launched.told(tmp_path / "run")["restarts"] == 1
    launched.until(lambda: launched.state(record) == "running")
    first, second = (launched.run("cancel", tmp_path / "run") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.endswith("is over: cancelled\n") and second.stdout.endswith("is over already: cancelled\n")
    assert record.ask().phase == "cancelled"
    follows = launched.run("logs", "-f", tmp_path / "run")
    assert follows.returncode == 1 and follows.stderr.endswith("cancelled\n")


def test_resuming_submits_the_same_again_once_the_job_is_over(slurm: Path, tmp_path: Path) -> None:
    code = (
        'import pathlib, sys\nfirst = not pathlib.Path("been").exists()\npathlib.Path("been").touch()\nsys.exit(first)'
    )
    record = launched.start("slurm", code, tmp_path / "run", cpus=2, extra={"hold": True})
    refused = launched.run("resume", tmp_path / "run")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "is pending: JobHeldUser" in refused.stderr
    subprocess.run(["scontrol", "release", record.job_id], check=True)
    assert launched.run("logs", "-f", tmp_path / "run").returncode == 1
    assert launched.run("resume", tmp_path / "run").returncode == 0
    again = job_record.read_record(tmp_path / "run")
    assert again.launch == record.launch and int(again.job_id) > int(record.job_id)
    assert launched.state(again) == "pending"  # held, as the first
    subprocess.run(["scontrol", "release", again.job_id], check=True)
    assert launched.run("logs", "-f", tmp_path / "run").returncode == 0
    scripts = [(record.logs / f"{job.job_id}_submission.sh").read_text() for job in (record, again)]
    assert scripts[0] == scripts[1] and "--cpus-per-task=2" in scripts[0]
