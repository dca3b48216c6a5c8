"""RUN/job.json: what the launcher knows of the job that it started for a run folder, written and read back."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from tools.launcher import schedulers
from tools.launcher.request import Launch, Request
from tools.launcher.schedulers.base import Answer, Job, Scheduler
from tools.launcher.worker.logs import log_file

LATER = (
    "gpu_kind",
    "starter",
    "setup",
    "python",
    "apptainer",
    "mounts",
)  # what records of earlier code lack, and later ones where it is empty
TIME = "%Y-%m-%dT%H:%M:%S%z"  # of the submission


@dataclasses.dataclass(frozen=True)
class JobRecord:
    """One job, or an array of them.

    launch: as it was submitted. host: where from. cancelled: whether that was asked for. run_dir: where job.json lies
    now.
    """

    launch: Launch
    job_id: str
    host: str
    submitted: str
    cancelled: bool
    run_dir: Path

    @property
    def logs(self) -> Path:
        """The folder of what the ranks print, where it lies now."""
        return self.run_dir / self.launch.logs.name

    @property
    def name(self) -> str:
        """For a sentence."""
        return f"job {self.job_id} ({self.launch.cluster})"

    @property
    def scheduler(self) -> Scheduler:
        """The one that runs it."""
        return schedulers.find_scheduler(self.launch.cluster)

    @property
    def job(self) -> Job:
        """For its scheduler."""
        return Job(self.job_id, self.launch.logs, self.host)

    def log(self, rank: int) -> Path:
        """Where the output of one rank lies."""
        return log_file(self.logs, self.job_id, rank)

    def each(self) -> list[JobRecord]:
        """The jobs of an array; a single job itself."""
        commands = self.launch.commands
        if len(commands) == 1 or self.scheduler.queue is None:
            return [self]
        parts = [dataclasses.replace(self.launch, commands=(command,)) for command in commands]
        return [
            dataclasses.replace(self, launch=part, job_id=f"{self.job_id}_{place}") for place, part in enumerate(parts)
        ]

    def ask(self) -> Answer:
        """What its scheduler says of it now."""
        return self.scheduler.state(self.job)

    def write(self) -> None:
        """Write job.json, atomically."""
        launch, request = self.launch, self.launch.request
        record = {
            "cluster": launch.cluster,
            "job_id": self.job_id,
            "tool": launch.tool,
            "commands": launch.commands,
            "folder": launch.folder,
            **{name: value for name, value in dataclasses.asdict(request).items() if value or name not in LATER},
            "environment": launch.environment,
            "run_dir": str(launch.run_dir),
            "code": str(launch.code),
            "settings": launch.settings,
            "log_of_rank_0": str(self.each()[0].log(0)),
            "host": self.host,
            "submitted": self.submitted,
            "cancelled": self.cancelled,
        }
        write_json(self.run_dir / "job.json", record)


def new_record(launch: Launch, job_id: str) -> JobRecord:
    """Of a job that was submitted just now."""
    return JobRecord(launch, job_id, socket.gethostname(), time.strftime(TIME), False, launch.run_dir)


def read_record(run_dir: Path) -> JobRecord:
    """The record in `run_dir`.

    Raises:
        UserError: there is none, or job.json holds something else.
    """
    path = run_dir.resolve() / "job.json"
    if not path.is_file():
        raise UserError(f"there is no {path}: name the run folder of a job that tools/launch.py started.")
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (ValueError, KeyError, TypeError) as error:
        lacks = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path} is not what this tools/launch.py writes ({lacks}): name the run folder of a job that it started."
        ) from error


def _named(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _parsed(written: Any, run_dir: Path) -> JobRecord:
    if not isinstance(written, dict):
        raise TypeError(f"it holds {type(written).__name__}")
    known = written["cluster"] in schedulers.names()
    if not known or not re.fullmatch(r"\w[\w.-]*", str(written["job_id"])):  # never one that looks like an option
        raise ValueError(f"cluster {written['cluster']!r}, job_id {written['job_id']!r}")
    time.strptime(written["submitted"], TIME)
    launch = Launch(
        cluster=written["cluster"],
        tool=written["tool"],
        commands=tuple(tuple(command) for command in written["commands"]),
        folder=written["folder"],
        request=Request(**{name: written[name] for name in _named(Request) if name in written or name not in LATER}),
        run_dir=Path(written["run_dir"]),
        environment=written["environment"],
        code=Path(written["code"]),
        settings=written["settings"],
    )
    return JobRecord(launch, written["job_id"], written["host"], written["submitted"], written["cancelled"], run_dir)
