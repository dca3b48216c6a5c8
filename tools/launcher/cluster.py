"""What submitit is asked to do, on SLURM or on this machine: resources, the batch script, submitting."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.runtime.errors import UserError
from tools.launcher.worker.rank import Task

if TYPE_CHECKING:
    import submitit


@dataclass(frozen=True)
class Request:
    """Resources of one job. tasks and gpus count per node, cpus per task; options and extra are sbatch's own.

    retries: after a crash. signal_delay: seconds between SLURM's warning and the end of the time limit.
    """

    name: str
    nodes: int = 1
    tasks: int = 1
    gpus: int = 0
    cpus: int = 1
    minutes: int = 60
    retries: int = 3
    signal_delay: int = 120
    options: dict[str, str | int] = field(default_factory=dict)  # partition and the like, in submitit's names
    extra: dict[str, str | bool] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks


def slurm_parameters(request: Request) -> dict[str, Any]:
    """`request` in the words of submitit's sbatch text."""
    gpus = {"gpus_per_node": request.gpus} if request.gpus else {}
    return {
        "job_name": request.name,
        "time": request.minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks,
        "cpus_per_task": request.cpus,
        **gpus,
        **request.options,
        "stderr_to_stdout": True,
        "use_srun": False,  # tools/launcher/worker/restart.py starts it, and starts it again
        # B: to that process alone. A rank that is still starting would die of the signal, or not hear it.
        "additional_parameters": {"signal": f"B:USR2@{request.signal_delay}", "requeue": True} | request.extra,
    }


def _python(code: Path) -> str:
    """The interpreter as a shell command that finds the packages below `code`, from whatever folder."""
    path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")]))
    return f"env {shlex.quote(f'PYTHONPATH={path}')} {shlex.quote(sys.executable)}"


def _batch_python(request: Request, logs: Path, code: Path) -> str:
    """What comes before submitit's own arguments in the batch script; `exec`, so that signals reach it."""
    options = {"logs": logs, "ranks": request.ranks, "cpus": request.cpus, "retries": request.retries}
    words = shlex.join(f"--{name}={value}" for name, value in options.items())
    return f"exec {_python(code)} -m tools.launcher.worker.restart {words} -- {shlex.quote(sys.executable)}"


def sbatch_text(request: Request, logs: Path, code: Path, count: int | None = None) -> str:
    """The batch script that `submit` would hand to sbatch, for an array of `count` jobs; needs no SLURM."""
    from submitit.slurm import slurm

    command = f"{_batch_python(request, logs, code)} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    return slurm._make_sbatch_string(command=command, folder=logs, map_count=count, **slurm_parameters(request))


def require_slurm() -> None:
    """Raises UserError where there is no SLURM to submit to."""
    if missing := [name for name in ("sbatch", "srun", "scontrol") if shutil.which(name) is None]:
        raise UserError(
            f"this machine has no SLURM ({', '.join(missing)} not in PATH): log in where jobs are submitted, or add "
            "`--cluster local` to run here."
        )


def submit_here(request: Request, task: Task, logs: Path, code: Path) -> submitit.Job:
    """Start `task` as processes of this machine, one for each rank."""
    from submitit import LocalExecutor

    logs.mkdir(parents=True, exist_ok=True)
    executor = LocalExecutor(logs, python=_python(code))
    executor.update_parameters(
        tasks_per_node=request.tasks,
        gpus_per_node=request.gpus,
        timeout_min=request.minutes,
        signal_delay_s=request.signal_delay,
        stderr_to_stdout=True,
    )
    with _deaf_to_the_keyboard():
        return executor.submit(task)


@contextlib.contextmanager
def _deaf_to_the_keyboard() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the launcher ends them in order, after their checkpoint."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # an ignored signal stays ignored through exec
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def submit(request: Request, tasks: Sequence[Task], logs: Path, code: Path) -> list[submitit.Job]:
    """Hand `tasks` to SLURM: a job, or where there are several an array of jobs.

    Raises:
        UserError: SLURM refuses the job.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    logs.mkdir(parents=True, exist_ok=True)
    executor = SlurmExecutor(logs, python=_batch_python(request, logs, code))
    executor.update_parameters(**slurm_parameters(request))
    try:
        with _outside_of_any_job():
            return [executor.submit(tasks[0])] if len(tasks) == 1 else executor.map_array(_call, tasks)
    except FailedJobError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"SLURM refused the job ({reason}): mend that, or add `--cluster local` to run here."
        ) from error


def _call(task: Task) -> None:
    task()


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hide a surrounding job's variables, which sbatch would take for wishes; SLURM_CONF only says where SLURM is."""
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        names = [
            name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"
        ]
        hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)
