"""A job of one line of Python, started as the launcher starts its tools; and the launcher's command line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import submitit

from helpers.repository import ROOT
from tools.launcher import cluster, job_record, status, waiting
from tools.launcher.plan import Launch
from tools.launcher.worker import rank

LAUNCH = ROOT / "tools/launch.py"


def start(where: str, code: str, run_dir: Path, **resources: Any) -> tuple[job_record.Record, submitit.Job]:
    """Submit `python -c code` and write job.json, without waiting."""
    request = cluster.Request("test", minutes=10, **{"retries": 0} | resources)
    launch = Launch(where, "evaluate", ((sys.executable, "-c", code),), str(run_dir.parent), request, run_dir, {})
    task = rank.Task(launch.commands[0], launch.folder, launch.environment)
    job = submit(where, request, task, launch.logs)
    record = job_record.new(launch, job.job_id)
    record.write()
    return record, job


def submit(where: str, request: cluster.Request, task: rank.Task, logs: Path) -> submitit.Job:
    if where == "local":
        return cluster.submit_here(request, task, logs, ROOT)
    return cluster.submit(request, [task], logs, ROOT)[0]


@contextlib.contextmanager
def here(code: str, run_dir: Path, **resources: Any) -> Iterator[job_record.Record]:
    """A job of this machine that is ended afterwards."""
    record, job = start("local", code, run_dir, **resources)
    try:
        yield record
    finally:
        waiting.end_here(int(record.job_id), job.done)


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, str(LAUNCH), *map(str, words)]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120)


def state(record: job_record.Record) -> str:
    return status.state_of(record).word


def told(run_dir: Path) -> dict[str, Any]:
    """What `status --json` says."""
    done = run("status", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
