"""A job of one line of Python, started as the launcher starts its tools; and the launcher's command line."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers import tool_process
from helpers.repository import ROOT
from tools.launcher import cli, job_record, plan, schedulers, status
from tools.launcher.request import Launch, Request
from tools.launcher.schedulers import slurm

LAUNCH = ROOT / "tools/launch.py"


def start(where: str, code: str, run_dir: Path, **resources: Any) -> job_record.JobRecord:
    """Submit `python -c code` and write job.json, without waiting."""
    request = Request("test", minutes=10, **{"retries": 0} | resources)
    launch = Launch(where, "evaluate", ((sys.executable, "-c", code),), str(run_dir.parent), request, run_dir, {})
    record = job_record.new_record(launch, schedulers.find_scheduler(where).submit(launch))
    record.write()
    return record


@contextlib.contextmanager
def here(code: str, run_dir: Path, **resources: Any) -> Iterator[job_record.JobRecord]:
    """A job of this machine that is ended afterwards."""
    record = start("local", code, run_dir, **resources)
    try:
        yield record
    finally:
        record.scheduler.cancel(record.job, 120)


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, str(LAUNCH), *map(str, words)]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return tool_process.run(command(*words), timeout=120)


def state(record: job_record.JobRecord) -> str:
    return status.job_state(record).word


def told(run_dir: Path) -> dict[str, Any]:
    """What `status --json` says."""
    done = run("status", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def planned(*words: str, tool: str = "pretrain") -> Launch:
    """What `launch.py TOOL data.root=images WORDS` would submit."""
    return plan.plan(*cli.split_arguments([tool, "data.root=images", *words]))


def script_of(launched: Launch) -> list[str]:
    """The options in the batch script, as sbatch reads them."""
    lines = [line.removeprefix("#SBATCH ") for line in slurm.batch_script(launched).splitlines()]
    return [shlex.split(line)[0] for line in lines if line.startswith("--")]
