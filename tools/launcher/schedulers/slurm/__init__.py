"""SLURM: jobs are submitted by submitit, and asked for through scontrol.

sacct would tell more, but needs accounting, which many clusters lack.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from pretrain.runtime.errors import UserError
from tools.launcher.request import IMAGE, Launch, Request
from tools.launcher.schedulers.base import About, Answer, Job, Phase, RankEnvironment, Refused
from tools.launcher.schedulers.slurm.batch import (
    OPTIONS,
    OWN,
    OWN_OF_SRUN,
    batch_parameters,
    batch_python,
    batch_script,
    gpus_stated,
    overridden,
    srun_words,
)
from tools.launcher.schedulers.slurm.steps import SlurmQueue, SlurmStarter, show_job
from tools.launcher.worker.rank import RankTask, tasks_of

START = 90  # seconds: the warning may come a minute early, and a run has to start before it can stop
PHASES: dict[str, Phase] = {  # of JobState; all others are jobs that run, such as COMPLETING
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
        "pending",
    ),
    **dict.fromkeys(
        ("BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"), "failed"
    ),
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
}
REQUIRED = {  # what sbatch says where a site requires an option
    "account": "--account NAME (and a --partition that it may use)",
    "partition": "--partition NAME",
    "qos": "--qos NAME",
    "time limit": "--time within the partition's limit",
    "gres|gpu|node configuration": "--gpus N, or TYPE:N as the cluster calls them",
    "memory": "--mem",
}


def _call(task: RankTask) -> None:
    task()


@contextlib.contextmanager
def _outside_of_any_job(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Hide the variables of a job around this process, and of options that are stated: sbatch would heed them.

    SLURM_CONF stays: it says where SLURM is.
    """
    names = overridden(parameters)["hidden"]
    if "SLURM_JOB_ID" in os.environ:
        names += [
            name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"
        ]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _remedy(reason: str) -> str:
    """What to do about a refusal of sbatch."""
    for words, option in REQUIRED.items():
        if re.search(words, reason, re.IGNORECASE):
            return f"give {option}, or write it once into a site file (--site)"
    return "mend that, or add `--cluster local` to run here"


def _check_words(option: str, command: str, given: Mapping[str, str | bool], own: Mapping[str, str]) -> None:
    """Refuse what is no option, or one that the launcher decides by its own."""
    for name, value in given.items():
        if name in own:
            raise UserError(f"{option} {name}: use {own[name]}, which the launcher counts with.")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise UserError(f"{option} {name}={value} is no option of {command}: write KEY or KEY=VALUE.")


def _check_pyxis() -> None:
    """srun lists the options of its plugins; where there is no srun, --dry-run shows what it would get."""
    if (
        shutil.which("srun")
        and f"--{IMAGE}" not in subprocess.run(["srun", "--help"], capture_output=True, text=True).stdout
    ):
        raise UserError(
            f"this SLURM has no pyxis (srun --help lists no --{IMAGE}): use --apptainer IMAGE, or leave --{IMAGE} out."
        )


class Slurm:
    """As base.Scheduler describes it."""

    about = About(
        help="submit to SLURM",
        title="SLURM",
        gone="SLURM no longer knows the job",
        options=OPTIONS,
        remarks=("srun:", "slurmstepd:"),
        gpus_in=gpus_stated,
    )
    queue = SlurmQueue()
    starter = SlurmStarter()

    def require(self) -> None:
        """The three commands that are used have to be there."""
        if missing := [name for name in ("sbatch", "srun", "scontrol") if shutil.which(name) is None]:
            raise UserError(
                f"this machine has no SLURM ({', '.join(missing)} not in PATH): log in where jobs are submitted, or "
                "add `--cluster local` to run here."
            )

    def check(self, request: Request) -> None:
        """The time limit has to leave time to run, and no option may be asked for in two ways."""
        _check_words("--slurm", "sbatch", request.extra, OWN)
        _check_words("--srun", "srun", request.starter, OWN_OF_SRUN)
        if request.minutes * 60 <= request.signal_delay + START:
            raise UserError(
                f"--time {request.minutes}m leaves no time to run: SLURM warns {request.signal_delay} s ahead of the "
                "end (--signal-delay) and may be a minute early; give more."
            )
        if request.options.get(IMAGE):
            _check_pyxis()

    def preview(self, launch: Launch) -> list[str]:
        """The batch script, and what its first process starts."""
        request = launch.request
        ((words, _),) = self.starter.starts(launch.logs, "JOB", request.ranks, request.cpus, srun_words(launch))
        again = f"# which starts, and up to {request.retries} times again:"
        heeded = overridden(batch_parameters(launch))["heeded"]
        also = [f"# sbatch also heeds {name}={shlex.quote(os.environ[name])} of this environment" for name in heeded]
        return ["# sbatch would get:", batch_script(launch), *also, again, shlex.join(words)]

    def submit(self, launch: Launch) -> str:
        """A job, or an array of one job for each command."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError

        launch.logs.mkdir(parents=True, exist_ok=True)
        executor = SlurmExecutor(launch.logs, python=batch_python(launch))
        parameters = batch_parameters(launch)
        executor.update_parameters(**parameters)
        tasks = tasks_of(launch)
        try:
            with _outside_of_any_job(parameters):
                job = executor.submit(tasks[0]) if len(tasks) == 1 else executor.map_array(_call, tasks)[0]
        except FailedJobError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"SLURM refused the job ({reason}): {_remedy(reason)}.") from error
        return str(job.job_id).partition("_")[0]

    def state(self, job: Job) -> Answer:
        """By scontrol. SLURM forgets a job some minutes after its end."""
        try:
            asked = show_job(job.job_id, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Answer("silent", f"scontrol does not answer ({error})")
        if asked.returncode:
            said = " ".join((asked.stderr or asked.stdout).split())
            return Answer("gone") if "Invalid job id" in said else Answer("silent", f"SLURM does not answer ({said})")
        if str(job.logs) not in asked.stdout:  # neither its batch script nor its output lies there: SLURM counts anew
            return Answer("gone")
        fields = dict(re.findall(r"(?:^|\s)(JobState|Reason|Restarts|NodeList)=(\S*)", asked.stdout))
        told = {name: "" if value in ("None", "(null)") else value for name, value in fields.items()}
        state = told["JobState"]
        phase = PHASES.get(state, "running")
        why = told["Reason"] if phase == "pending" else state if state.lower() != phase else ""
        return Answer(phase, why, told["NodeList"], int(told["Restarts"]))

    def cancel(self, job: Job, patience: float) -> None:
        """By scancel, which asks for the end and does not wait for it."""
        asked = subprocess.run(["scancel", job.job_id], capture_output=True, text=True)
        if asked.returncode:
            raise Refused(" ".join(asked.stderr.split()))

    def rank_environment(self) -> RankEnvironment:
        """From SLURM's variables. `start` counts SLURM's restarts of the job and the steps within it."""
        import submitit

        job = submitit.JobEnvironment()
        names = [job.hostnames[0]] if job.num_nodes > 1 else []
        address = os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
        starts = [os.environ.get(name, "0") for name in ("SLURM_RESTART_COUNT", "SLURM_STEP_ID")]
        return RankEnvironment(
            job_id=job.job_id,
            rank=job.global_rank,
            ranks=job.num_tasks,
            local_rank=job.local_rank,
            nodes=job.num_nodes,
            first_node=tuple([*names, address] if address else names),
            start="/".join(starts),
        )


SCHEDULER = Slurm()
