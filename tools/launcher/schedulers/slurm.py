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
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from tools.launcher.gpus import Gpus, gpus_in
from tools.launcher.request import Launch, Request
from tools.launcher.schedulers.base import About, Answer, Job, OwnOption, Phase, RankEnvironment, Refused, Start
from tools.launcher.worker.logs import log_file
from tools.launcher.worker.rank import RankTask, tasks_of
from tools.launcher.worker.restart import first_words

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
OPTIONS = (
    OwnOption("partition", "SLURM: partition, as in sbatch (default: the cluster's)"),
    OwnOption("account", "SLURM: account that pays, as in sbatch (default: the cluster's)"),
    OwnOption("qos", "SLURM: quality of service, as in sbatch (default: the cluster's)"),
    OwnOption("constraint", "SLURM: features that nodes must have, as in sbatch (default: none)"),
    OwnOption("exclude", "SLURM: nodes to leave out, as in sbatch (default: none)"),
    OwnOption("mem", "SLURM: memory a node, as in sbatch (default: the cluster's)", "64G"),
    OwnOption("slurm", "SLURM: any other option of sbatch, repeatable (default: none)", "KEY[=VALUE]", repeatable=True),
)


OWN = {  # of sbatch, by the option of the launcher that decides them, since the ranks are counted by it
    **{"nodes": "--nodes", "ntasks": "--tasks", "ntasks-per-node": "--tasks", "cpus-per-task": "--cpus"},
    **{"time": "--time", "signal": "--signal-delay", "job-name": "--name", "array": "--trials"},
    **dict.fromkeys(("output", "error", "open-mode"), "--run-dir, which holds the logs"),
}
OTHER_VARIABLES = {  # of sbatch, where they are not called like their option
    "time": ("SBATCH_TIMELIMIT",),
    "mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "requeue": ("SBATCH_NO_REQUEUE",),
    "array": ("SBATCH_ARRAY_INX",),
    **dict.fromkeys(
        ("gres", "gpus", "gpus-per-node"),
        ("SBATCH_GRES", "SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK", "SBATCH_TRES_PER_TASK"),
    ),
}
REQUIRED = {  # what sbatch says where a site requires an option
    "account": "--account NAME (and a --partition that it may use)",
    "partition": "--partition NAME",
    "qos": "--qos NAME",
    "time limit": "--time within the partition's limit",
    "gres|gpu|node configuration": "--gpus N, or TYPE:N as the cluster calls them",
    "memory": "--mem",
}


def _pattern(path: Path) -> Path:
    """A folder in SLURM's names of logs, where %j and the like mean something."""
    return Path(str(path).replace("%", "%%"))


def batch_parameters(launch: Launch) -> dict[str, Any]:
    """What is asked for in the words of submitit's batch script."""
    request = launch.request
    kept = dict(request.extra)
    job_id = "%A_%a" if len(launch.commands) > 1 else "%j"
    if request.gpus and gpus_in(request.extra, request.nodes) is None:
        kept["gpus-per-node"] = str(Gpus(request.gpus, request.gpu_kind))
    return {
        "job_name": request.name,
        "time": request.minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks,
        "cpus_per_task": request.cpus,
        **request.options,
        "stderr_to_stdout": True,
        "use_srun": False,  # tools/launcher/worker/restart.py starts it, and starts it again
        # B: to that process alone. A rank that is still starting would die of the signal, or not hear it.
        "additional_parameters": {
            "signal": f"B:USR2@{request.signal_delay}",
            "requeue": True,
            "output": str(log_file(_pattern(launch.logs), job_id, 0)),  # submitit would not escape the folder
            **kept,
        },
    }


def _batch_python(launch: Launch) -> str:
    """What comes before submitit's own arguments in the batch script; `exec`, so that signals reach it."""
    return f"exec {shlex.join([*first_words(launch), sys.executable])}"


def batch_script(launch: Launch) -> str:
    """The batch script that `submit` would hand to sbatch; needs no SLURM."""
    from submitit.slurm import slurm

    count = len(launch.commands) if len(launch.commands) > 1 else None
    command = f"{_batch_python(launch)} -u -m submitit.core._submit {shlex.quote(str(launch.logs))}"
    parameters = batch_parameters(launch)
    return slurm._make_sbatch_string(command=command, folder=launch.logs, map_count=count, **parameters)


def _call(task: RankTask) -> None:
    task()


def overridden(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """The SBATCH_* variables that are set: those whose option a launch states itself ("hidden"), and the others.

    sbatch would prefer a variable to the same option in its script, so the stated ones are hidden from it.
    """
    stated = {name.replace("_", "-") for name in (*parameters, *parameters["additional_parameters"])}
    names = {f"SBATCH_{name.upper().replace('-', '_')}" for name in stated}
    names |= {variable for name, others in OTHER_VARIABLES.items() if name in stated for variable in others}
    present = sorted(name for name in os.environ if name.startswith("SBATCH_"))
    return {
        "hidden": [name for name in present if name in names],
        "heeded": [name for name in present if name not in names],
    }


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


def _show_job(job_id: str, **limits: Any) -> subprocess.CompletedProcess[str]:
    command = ["scontrol", "--oneliner", "show", "job", job_id]
    return subprocess.run(command, capture_output=True, text=True, **limits)


def _remedy(reason: str) -> str:
    """What to do about a refusal of sbatch."""
    for words, option in REQUIRED.items():
        if re.search(words, reason, re.IGNORECASE):
            return f"give {option}, or write it once into a site file (--site)"
    return "mend that, or add `--cluster local` to run here"


class SlurmStarter:
    """The ranks of a job, started by srun."""

    def job(self) -> tuple[str, str]:
        """The id as submitit writes it: of an array, its number and the place in it."""
        array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        return f"{array}_{place}" if array else os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_JOB_NODELIST", "")

    def starts(self, logs: Path, job_id: str, ranks: int, cpus: int) -> list[Start]:
        """One srun starts all.

        One dead rank must end the others, which would wait for it in a collective until the time limit. And since
        SLURM 22.05 srun no longer takes the CPUs of a task from sbatch. --export: a site, or SBATCH_EXPORT=NONE, may
        keep the first process's environment from the ranks.

        Args:
            logs: the job's folder of logs.
            job_id: as `job` tells it.
            ranks: not needed: srun knows them from the job.
            cpus: cores of each.
        """
        output = ["--unbuffered", "--open-mode=append", f"--output={log_file(_pattern(logs), job_id, '%t')}"]
        words = ["srun", *output, "--kill-on-bad-exit=1", f"--cpus-per-task={cpus}", "--export=ALL"]
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
        found = re.search(r"(?:^|\s)JobState=(\S*)", _show_job(job_id).stdout)
        if found and found[1] not in ("RUNNING", "PREEMPTED", ""):
            return ""
        asked = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
        return " ".join((asked.stderr or asked.stdout).split()) if asked.returncode else None


class Slurm:
    """As base.Scheduler describes it."""

    about = About(
        help="submit to SLURM",
        title="SLURM",
        gone="SLURM no longer knows the job",
        options=OPTIONS,
        remarks=("srun:", "slurmstepd:"),
        gpus_in=gpus_in,
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
        for name, value in request.extra.items():
            if name in OWN:
                raise UserError(f"--slurm {name}: use {OWN[name]}, which the launcher counts with.")
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise UserError(f"--slurm {name}={value} is no option of sbatch: write KEY or KEY=VALUE.")
        if request.minutes * 60 <= request.signal_delay + START:
            raise UserError(
                f"--time {request.minutes}m leaves no time to run: SLURM warns {request.signal_delay} s ahead of the "
                "end (--signal-delay) and may be a minute early; give more."
            )

    def preview(self, launch: Launch) -> list[str]:
        """The batch script, and what its first process starts."""
        request = launch.request
        ((words, _),) = self.starter.starts(launch.logs, "JOB", request.ranks, request.cpus)
        again = f"# which starts, and up to {request.retries} times again:"
        heeded = overridden(batch_parameters(launch))["heeded"]
        also = [f"# sbatch also heeds {name}={shlex.quote(os.environ[name])} of this environment" for name in heeded]
        return ["# sbatch would get:", batch_script(launch), *also, again, shlex.join(words)]

    def submit(self, launch: Launch) -> str:
        """A job, or an array of one job for each command."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError

        launch.logs.mkdir(parents=True, exist_ok=True)
        executor = SlurmExecutor(launch.logs, python=_batch_python(launch))
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
            asked = _show_job(job.job_id, timeout=60)
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
