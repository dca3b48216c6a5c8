"""What is decided about a launch before anything is written or submitted: command, resources, folders, environment."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.data.site.standing_in import NO_DATA, SCRATCH
from pretrain.data.site.standing_in import VARIABLE as DATA
from pretrain.runtime.errors import UserError
from pretrain.runtime.options.arguments import Once
from pretrain.runtime.repository import HOME
from pretrain.runtime.urls import hide
from tools.commands.listing import file_of
from tools.launcher import schedulers
from tools.launcher.gpus import Gpus
from tools.launcher.request import IMAGE, Launch, Request
from tools.launcher.site import surroundings, variables

MOST = 1_000_000  # of nodes, tasks and the like
PLACEHOLDER = re.compile(r"%[jtaA]")  # of submitit's names of files, which know no escape
DEFAULT_CONFIG = HOME / "configs/pretrain/unigrad_r50_100ep.yaml"


class Tool(NamedTuple):
    """A file in tools/, its default number of GPUs a node on a cluster, and whether its processes work together."""

    file: str
    gpus: int
    distributed: bool


TOOLS = {  # by subcommand
    "pretrain": Tool("pretrain", 8, True),
    "convert": Tool("convert", 0, False),
    "detection": Tool(file_of("detection"), 1, True),
    "evaluate": Tool("evaluate", 1, True),
    "prepare_data": Tool("prepare_data", 0, False),
    "report": Tool("report", 0, False),
    "check_network": Tool("check_network", 8, True),
}


@contextlib.contextmanager
def _data_of(asked: Mapping[str, str]) -> Iterator[None]:
    """Let what stands in for data.root be that of the job, which --environment may have set."""
    before = os.environ.get(DATA)
    if DATA in asked:
        os.environ[DATA] = asked[DATA]
    try:
        yield
    finally:
        os.environ.pop(DATA, None)
        if before is not None:
            os.environ[DATA] = before


def _resolved_pretraining(arguments: list[str], asked: Mapping[str, str]) -> tuple[list[str], str, dict[str, Any]]:
    """Arguments with the default --config added where none is given, and the configuration they resolve to, twice.

    Args: arguments: of the tool. asked: variables of --environment.
    """
    import yaml

    from tools import pretrain as tool

    if _named_config(arguments) is None:
        arguments = ["--config", str(DEFAULT_CONFIG), *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as shown, _data_of(asked):
        tool.main(["--show", *arguments])
    return arguments, shown.getvalue(), yaml.safe_load(shown.getvalue())


def _named_config(arguments: list[str]) -> str | None:
    """The tool's --config, read as every tool reads it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action=Once)
    named: str | None = parser.parse_known_args(arguments)[0].config
    return named


def _single_line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise UserError(f"{name} {value!r} holds the end of a line: leave that out.")
    return value


def plan(tool: str, args: argparse.Namespace, arguments: list[str]) -> Launch:
    """Decide everything about the job before anything is written or submitted.

    Raises:
        UserError: whatever can be known to be wrong by now.
    """
    if secret := next((hide(word) for word in (*arguments, os.environ.get(DATA, "")) if hide(word) != word), None):
        raise UserError(
            f"{secret} would be written into the files of the job with its credentials or query: leave these out, and "
            "give them through ~/.netrc or the environment (docs/data.md)."
        )
    config: dict[str, Any] = {}
    shown, asked = "", variables.asked_for(args.environment)
    if tool == "pretrain":
        arguments, shown, config = _resolved_pretraining(arguments, asked)
    name = _single_line("--name", args.name or Path(_named_config(arguments) or TOOLS[tool].file).stem)
    run_dir = (args.run_dir or Path(config.get("run_dir") or _unique_folder(name))).resolve()
    if tool == "pretrain" and (args.run_dir or not config["run_dir"]):
        arguments, shown, config = _resolved_pretraining([*arguments, f"run_dir={run_dir}"], asked)
    if found := PLACEHOLDER.search(str(run_dir)):
        raise UserError(
            f"run folder {run_dir} holds '{found[0]}', in whose place submitit would write a number: choose another."
        )
    _check(tool, args, config)
    _check_trials(tool, args, arguments)
    request = _request(TOOLS[tool], name, args, config.get("data", {}).get("workers", 0))
    about = schedulers.find_scheduler(args.cluster).about
    surroundings.check(request, about.here)
    schedulers.find_scheduler(args.cluster).check(request)
    program = (surroundings.rank_python(request), str(HOME / "tools" / f"{TOOLS[tool].file}.py"))
    trials = range(args.trials) if args.trials else [None]
    return Launch(
        cluster=args.cluster,
        tool=tool,
        commands=tuple((*program, *(_of_trial(word, trial) for word in arguments)) for trial in trials),
        folder=os.getcwd(),
        request=request,
        run_dir=run_dir,
        environment=_environment(args, request, asked),
        shown=(shown,) if shown else (),
    )


def _request(tool: Tool, name: str, args: argparse.Namespace, workers: int) -> Request:
    """Resources, as asked for or by default; workers: loading processes of a task."""
    options, extra, starter = _own_options(args)
    gpus = _gpus(tool, args, options, extra)
    return Request(
        name=name,
        nodes=args.nodes,
        tasks=args.tasks or (max(1, gpus.count) if tool.distributed else 1),
        gpus=gpus.count,
        gpu_kind=gpus.kind,
        cpus=args.cpus or 1 + workers,
        minutes=args.time,
        retries=args.retries,
        signal_delay=args.signal_delay,
        options=options,
        extra=extra,
        starter=starter,
        setup=[_single_line("--setup", line) for line in args.setup],
        python=os.path.expanduser(_single_line("--python", args.python or "")),
        apptainer=os.path.expanduser(_single_line("--apptainer", args.apptainer or "")),
        mounts=[_single_line("--container-mounts", mount) for mount in args.container_mounts],
    )


def _own_options(
    args: argparse.Namespace,
) -> tuple[dict[str, str | int], dict[str, str | bool], dict[str, str | bool]]:
    """What was given of the scheduler's own options: by name; KEY=VALUE of a job; and of what starts the ranks."""
    options: dict[str, str | int] = {}
    extra: dict[str, str | bool] = {}
    starter: dict[str, str | bool] = {}
    own = schedulers.find_scheduler(args.cluster).about.options
    if getattr(args, IMAGE.replace("-", "_")) and all(option.name != IMAGE for option in own):
        raise UserError(f"--cluster {args.cluster} has no --{IMAGE}: give --apptainer IMAGE.")
    for option in own:
        given = getattr(args, option.name.replace("-", "_"))
        if option.repeatable:
            pairs = dict(_key_value(_single_line(f"--{option.name}", pair)) for pair in given)
            (starter if option.starts else extra).update(pairs)
        elif given:
            options[option.name] = _single_line(f"--{option.name}", given)
    return options, extra, starter


def _of_trial(word: str, trial: int | None) -> str:
    return word if trial is None else word.replace("{trial}", str(trial))


def _unique_folder(name: str) -> str:
    return f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _key_value(pair: str) -> tuple[str, str | bool]:
    key, equals, value = pair.lstrip("-").partition("=")
    return key.replace("_", "-"), value if equals else True


def _check(tool: str, args: argparse.Namespace, config: dict[str, Any]) -> None:
    for name, least in (("nodes", 1), ("tasks", 1), ("cpus", 1), ("retries", 0), ("signal_delay", 1)):
        value = getattr(args, name)
        if value is not None and not least <= value <= MOST:
            fault = f"below {least}: give a larger" if value < least else f"above {MOST:,}: give a smaller"
            raise UserError(f"--{name.replace('_', '-')} {value} is {fault} number.")
    if not TOOLS[tool].distributed and max(args.nodes, args.tasks or 1) > 1:
        raise UserError(f"{tool} is one process: leave --nodes and --tasks out.")
    about = schedulers.find_scheduler(args.cluster).about
    if about.here and args.nodes > 1:
        raise UserError(f"--cluster {args.cluster} is one machine: replace --nodes {args.nodes} by --tasks N.")
    if config and not config["data"]["root"]:
        raise UserError(NO_DATA)
    if config and about.here and not _is_there(config["data"]["root"]):
        raise UserError(f"image folder {config['data']['root']} does not exist: check data.root.")


def _is_there(root: str) -> bool:
    """Whether there is a folder of images, or what another kind of source takes."""
    from pretrain.data.sources import FOLDER, kind_of

    return Path(root).is_dir() or kind_of(root) is not FOLDER


def _check_trials(tool: str, args: argparse.Namespace, arguments: Sequence[str]) -> None:
    trials, scheduler = args.trials, schedulers.find_scheduler(args.cluster)
    if trials is None:
        return
    if tool == "pretrain":
        raise UserError("--trials is for what follows pretraining: tools/compare.py --seeds 0,1,2 pretrains several.")
    if not 1 <= trials <= MOST or not any("{trial}" in word for word in arguments):
        raise UserError(
            f"--trials {trials} needs to be 1 or more, and {{trial}} in the arguments, which becomes 0, 1 and so on: "
            "for example --out OUT/trial-{trial} SEED={trial}."
        )
    if trials > 1 and scheduler.queue is None and not scheduler.about.attended:
        raise UserError(f"--cluster {args.cluster} has no queue for {trials} jobs: launch each trial by itself.")


def _gpus(
    tool: Tool, args: argparse.Namespace, options: Mapping[str, str | int], extra: Mapping[str, str | bool]
) -> Gpus:
    """GPUs a node. On this machine all that this process may use; torch is asked only where there is a driver."""
    about = schedulers.find_scheduler(args.cluster).about
    asked: Gpus | None = args.gpus
    stated = about.gpus_in(options, extra, args.nodes)
    if stated is not None:
        if asked and (asked.kind or asked.count not in (0, stated)):
            raise UserError(
                f"--gpus {asked} and the scheduler's own option for {stated} GPUs differ: keep one of them."
            )
        return Gpus(stated)
    if asked is not None:
        if asked.kind and about.here:
            raise UserError(
                f"--gpus {asked} names a kind, and --cluster {args.cluster} has what it has: give a number."
            )
        return asked
    if not about.here:
        return Gpus(tool.gpus)
    if not Path("/proc/driver/nvidia").exists():
        return Gpus(0)
    import torch

    count = int(torch.cuda.device_count())
    return Gpus(count if tool.distributed else min(tool.gpus, count))


def _environment(args: argparse.Namespace, request: Request, asked: Mapping[str, str]) -> dict[str, str]:
    """What a task adds to its environment: which GPUs, a fair share of this machine's cores, and what is asked for."""
    here = schedulers.find_scheduler(args.cluster).about.here
    environment: dict[str, str] = {}
    if request.gpus == 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # --gpus 0 means CPU, also on a machine that has some
    elif here:  # submitit would number them from 0, whatever the user's own choice was
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(index) for index in range(request.gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen.split(",")[: request.gpus])
    if not here:
        environment |= variables.carried()
    if "OMP_NUM_THREADS" not in os.environ:
        share = len(os.sched_getaffinity(0)) // request.tasks if here else request.cpus
        environment["OMP_NUM_THREADS"] = str(max(1, args.cpus or share))
    scratch = {SCRATCH: _single_line("--scratch", args.scratch)} if args.scratch else {}
    return {**environment, **scratch, **asked}
