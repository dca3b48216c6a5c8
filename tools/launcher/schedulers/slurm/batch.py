"""The batch script of a job: SLURM's options, as the launcher has them and as sbatch reads them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from tools.launcher.gpus import Gpus, gpus_in
from tools.launcher.request import IMAGE, Launch, Request
from tools.launcher.schedulers.base import OwnOption
from tools.launcher.site.surroundings import host_python, rank_python, setup_lines
from tools.launcher.worker.logs import log_file
from tools.launcher.worker.restart import first_words

OPTIONS = (
    OwnOption("partition", "SLURM: partition, as in sbatch (default: the cluster's)"),
    OwnOption("account", "SLURM: account that pays, as in sbatch (default: the cluster's)"),
    OwnOption("qos", "SLURM: quality of service, as in sbatch (default: the cluster's)"),
    OwnOption("constraint", "SLURM: features that nodes must have, as in sbatch (default: none)"),
    OwnOption("exclude", "SLURM: nodes to leave out, as in sbatch (default: none)"),
    OwnOption("mem", "SLURM: memory a node, as in sbatch (default: the cluster's)", "64G"),
    OwnOption(
        "gres",
        "SLURM: ask for GPUs so, not by --gpus-per-node; without a number --gpus counts them (default: not)",
        "gpu[:TYPE][:G]",
    ),
    OwnOption(IMAGE, "SLURM with pyxis: image that the ranks run in (default: no container)", "IMAGE"),
    OwnOption("slurm", "SLURM: any other option of sbatch, repeatable (default: none)", "KEY[=VALUE]", repeatable=True),
    OwnOption(
        "srun",
        "SLURM: any option of srun, which starts the ranks, repeatable (default: none)",
        "KEY[=VALUE]",
        repeatable=True,
        starts=True,
    ),
)

OWN = {  # of sbatch, by the option of the launcher that decides them, since the ranks are counted by it
    **{"nodes": "--nodes", "ntasks": "--tasks", "ntasks-per-node": "--tasks", "cpus-per-task": "--cpus"},
    **{"time": "--time", "signal": "--signal-delay", "job-name": "--name", "array": "--trials"},
    **dict.fromkeys(("output", "error", "open-mode"), "--run-dir, which holds the logs"),
}
OWN_OF_SRUN = {  # likewise
    **{name: OWN[name] for name in ("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "time", "output", "error")},
    **{"kill-on-bad-exit": "--retries: one dead rank always ends the others", IMAGE: f"--{IMAGE}"},
    "container-mounts": "--container-mounts",
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


def pattern(path: Path) -> Path:
    """A folder in SLURM's names of logs, where %j and the like mean something."""
    return Path(str(path).replace("%", "%%"))


def batch_parameters(launch: Launch) -> dict[str, Any]:
    """What is asked for in the words of submitit's batch script."""
    request = launch.request
    kept = dict(request.extra)
    job_id = "%A_%a" if len(launch.commands) > 1 else "%j"
    options = {name: value for name, value in request.options.items() if name not in (IMAGE, "gres")}
    if request.gpus and gpus_in(request.extra, request.nodes) is None:
        kept |= _asked_gpus(request)
    return {
        "job_name": request.name,
        "time": request.minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks,
        "cpus_per_task": request.cpus,
        **options,
        **({"setup": lines} if (lines := setup_lines(request)) else {}),
        "stderr_to_stdout": True,
        "use_srun": False,  # tools/launcher/worker/restart.py starts it, and starts it again
        # B: to that process alone. A rank that is still starting would die of the signal, or not hear it.
        "additional_parameters": {
            "signal": f"B:USR2@{request.signal_delay}",
            "requeue": True,
            "output": str(log_file(pattern(launch.logs), job_id, 0)),  # submitit would not escape the folder
            **kept,
        },
    }


def _asked_gpus(request: Request) -> dict[str, str]:
    """The one option that asks for the GPUs of a node."""
    if not (gres := str(request.options.get("gres", ""))):
        return {"gpus-per-node": str(Gpus(request.gpus, request.gpu_kind))}
    if gpus_in({"gres": gres}, request.nodes) == request.gpus and not uncounted(gres):
        return {"gres": gres}
    return {"gres": ":".join(filter(None, [gres, request.gpu_kind, str(request.gpus)]))}


def uncounted(gres: str) -> bool:
    """Whether `gpu` or `gpu:TYPE` of --gres leaves the number to --gpus."""
    return re.fullmatch(r"gpu(:[A-Za-z][\w.-]*)?", gres) is not None


def gpus_stated(options: Mapping[str, str | int], extra: Mapping[str, str | bool], nodes: int) -> int | None:
    """GPUs of a node that --gres or the options of sbatch ask for; None where they say nothing of their number.

    Args: options: by name. extra: of --slurm. nodes: of the job.

    Raises:
        UserError: as gpus_in, or they are asked for in both ways.
    """
    gres = str(options.get("gres", ""))
    stated = gpus_in(extra, nodes)
    if not gres:
        return stated
    if stated is not None or "gres" in extra:
        raise UserError(f"--gres {gres} and --slurm both ask for GPUs or gres: keep one of them.")
    if not re.match(r"(gres[:/])?gpu\b", gres):
        raise UserError(f"--gres {gres} asks for no GPU: write gpu, gpu:TYPE or gpu:TYPE:NUMBER, others by --slurm.")
    return None if uncounted(gres) else gpus_in({"gres": gres}, nodes)


def starter_words(request: Request) -> list[str]:
    """What the user adds to srun."""
    words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in request.starter.items()]
    if image := request.options.get(IMAGE):
        words.append(f"--{IMAGE}={image}")
    return words


def _mounts(launch: Launch) -> list[str]:
    """The run folder and the working folder have the same names within a container."""
    if not launch.request.options.get(IMAGE):
        return []
    folders = [f"{path}:{path}" for path in dict.fromkeys((str(launch.run_dir), launch.folder))]
    return [f"--container-mounts={','.join([*folders, *launch.request.mounts])}"]


def srun_words(launch: Launch) -> list[str]:
    """All that this launch adds to srun."""
    return [*starter_words(launch.request), *_mounts(launch)]


def batch_python(launch: Launch) -> str:
    """What comes before submitit's own arguments in the batch script; `exec`, so that signals reach it."""
    inside = launch.request.options.get(IMAGE)
    python = rank_python(launch.request) if inside else host_python(launch.request)
    known = ["env", f"PYTHONPATH={launch.code}"] if inside else []  # an image may have a PYTHONPATH of its own
    return f"exec {shlex.join([*first_words(launch, srun_words(launch)), *known, python])}"


def batch_script(launch: Launch) -> str:
    """The batch script that `submit` would hand to sbatch; needs no SLURM."""
    from submitit.slurm import slurm

    count = len(launch.commands) if len(launch.commands) > 1 else None
    command = f"{batch_python(launch)} -u -m submitit.core._submit {shlex.quote(str(launch.logs))}"
    parameters = batch_parameters(launch)
    return slurm._make_sbatch_string(command=command, folder=launch.logs, map_count=count, **parameters)


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
