"""SLURM from inside a job: srun, which starts the ranks, and the queue that the job came from."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.launcher.request import Request
from tools.launcher.schedulers.base import Start
from tools.launcher.schedulers.slurm.batch import pattern
from tools.launcher.worker.logs import log_file


def show_job(job_id: str, **limits: Any) -> subprocess.CompletedProcess[str]:
    """What scontrol says of a job, in one line. Args: limits: of subprocess.run."""
    command = ["scontrol", "--oneliner", "show", "job", job_id]
    return subprocess.run(command, capture_output=True, text=True, **limits)


class SlurmStarter:
    """The ranks of a job, started by srun."""

    def job(self) -> tuple[str, str]:
        """The id as submitit writes it: of an array, its number and the place in it."""
        array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        return f"{array}_{place}" if array else os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_JOB_NODELIST", "")

    def starts(self, logs: Path, job_id: str, ranks: int, cpus: int, more: Sequence[str]) -> list[Start]:
        """One srun starts all.

        One dead rank must end the others, which would wait for it in a collective until the time limit. And since
        SLURM 22.05 srun no longer takes the CPUs of a task from sbatch. --export: a site, or SBATCH_EXPORT=NONE, may
        keep the first process's environment from the ranks.

        Args:
            logs: the job's folder of logs.
            job_id: as `job` tells it.
            ranks: not needed: srun knows them from the job.
            cpus: cores of each.
            more: options of srun that the user adds.
        """
        output = ["--unbuffered", "--open-mode=append", f"--output={log_file(pattern(logs), job_id, '%t')}"]
        words = ["srun", *output, "--kill-on-bad-exit=1", f"--cpus-per-task={cpus}", "--export=ALL", *more]
        return [Start(words)]


class SlurmQueue:
    """Arrays, dependencies, requeueing."""

    def after(self, request: Request, needed: Sequence[str]) -> Request:
        """By sbatch's --dependency and --kill-on-invalid-dep."""
        options = request.options | {"dependency": ":".join(["afterok", *needed])}
        return replace(request, options=options, extra=request.extra | {"kill-on-invalid-dep": "yes"})

    def at_once(self, request: Request, count: int) -> Request:
        """By the %COUNT of sbatch's --array."""
        return replace(request, options=request.options | {"array_parallelism": count})

    def requeue(self) -> str | None:
        """By scontrol, unless SLURM is ending the job."""
        job_id = os.environ["SLURM_JOB_ID"]
        found = re.search(r"(?:^|\s)JobState=(\S*)", show_job(job_id).stdout)
        if found and found[1] not in ("RUNNING", "PREEMPTED", ""):
            return ""
        asked = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
        return " ".join((asked.stderr or asked.stdout).split()) if asked.returncode else None
