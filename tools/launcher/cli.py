"""The launcher's own options, separated from those of the tool that it starts."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import Any

from pretrain.data.site.standing_in import SCRATCH
from pretrain.runtime.errors import UserError
from pretrain.runtime.options.arguments import Once, a_path, program
from tools.launcher import schedulers
from tools.launcher.gpus import gpus_argument
from tools.launcher.plan import TOOLS
from tools.launcher.site.origins import COMMAND_LINE, origins
from tools.launcher.site.site_file import VARIABLE, find_site_file, site_words
from tools.launcher.site.variables import ENVIRONMENT

LONGEST = 10 * 366 * 24 * 60  # minutes of a job
RUN_DIR = "gets job.json, jobs/ (logs) and the code; of pretrain it is the run_dir"
TRIALS = "N jobs (an array, where there is a queue), in whose arguments {trial} is 0 to N-1"
GPUS = "default: all of this machine; on a cluster 8 for pretrain, 1 for detection and evaluate, else 0"
SIGNAL_DELAY = "seconds before the time limit at which a run stops by itself"
CHECK = "in place of the run, check ranks, collectives, bandwidth and clocks within a minute; waits for the end"
CHECK_MINUTES = 10  # of the time limit: so short a job finds a place early
SITE = f"a cluster's defaults of these options (default: ${VARIABLE}, or ~/.config/unigrad/cluster.yaml)"
OTHERS = ("pipeline", "status", "logs", "cancel", "resume")  # subcommands that start no single tool


def parser(description: str = "") -> argparse.ArgumentParser:
    """The launcher's options."""
    root = argparse.ArgumentParser(
        prog=program("launch"),
        usage="%(prog)s [TOOL] [options] [--] [arguments of the tool]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"TOOL: {', '.join(TOOLS)}, pipeline; or, for the job of a run folder: {', '.join(OTHERS[1:])}",
        allow_abbrev=False,
    )
    schedulers.add_cluster(root, schedulers.DEFAULT)
    root.add_argument("--site", type=a_path, action=Once, metavar="YAML", help=SITE)
    add_resources(root)
    for name, option in schedulers.own_options().items():
        repeatable: dict[str, Any] = {"action": "append", "default": []} if option.repeatable else {}
        root.add_argument(f"--{name}", help=option.help, metavar=option.metavar, **repeatable)
    add_surroundings(root)
    add = root.add_argument
    add("--run-dir", type=a_path, metavar="DIR", help=f"{RUN_DIR} (default runs/NAME-DATE)")
    add("--name", help="name of the job in the queue (default: of the tool or configuration)")
    add("--trials", type=int, metavar="N", help=f"{TRIALS} (at least 1; default: one job)")
    add(
        "--follow",
        action="store_true",
        help="show rank 0's log to the end and return the exit code (default off; on where --cluster waits)",
    )
    add("--network-check", action="store_true", help=f"{CHECK} (default off)")
    add("--dry-run", action="store_true", help="print what would be submitted, and do nothing (default off)")
    return root


def add_resources(root: argparse.ArgumentParser) -> None:
    """Add what every scheduler understands."""
    add = root.add_argument
    add("--nodes", type=int, default=1, metavar="N", help="machines, at least 1 (default 1)")
    add("--gpus", type=gpus_argument, metavar="[TYPE:]G", help=f"GPUs a node, at least 0: CPU and gloo ({GPUS})")
    add("--tasks", type=int, metavar="T", help="processes a node, at least 1 (default: one a GPU)")
    add("--cpus", type=int, metavar="C", help="cores a process, at least 1 (default: 1 and one a loading process)")
    add("--time", type=minutes, default=3 * 24 * 60, metavar="3d12h", help="time limit: d, h and m (default 3d)")
    add("--retries", type=int, default=3, metavar="R", help="starts after a crash, at least 0 (default 3)")
    add("--signal-delay", type=int, default=120, metavar="S", help=f"{SIGNAL_DELAY}, at least 1 (default 120)")


def add_surroundings(root: argparse.ArgumentParser) -> None:
    """Add what the ranks run in, whatever the scheduler."""
    several = "repeatable (default: none)"
    for name, metavar, told in (
        ("setup", "LINE", "line of bash before the ranks, as 'module load cuda'"),
        (ENVIRONMENT, "NAME=VALUE", "variable of the ranks"),
        ("container-mounts", "SRC:DST", "folder that a container sees"),
    ):
        root.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=f"{told}, {several}")
    add = root.add_argument
    add("--python", metavar="PATH", help="interpreter of the tool (default: this one; in a container its python3)")
    add("--scratch", metavar="DIR", help=f"${SCRATCH}: disk of a node that gets packed images (default: none)")
    add("--apptainer", metavar="IMAGE", help="image that the tool runs in by apptainer (default: no container)")


def site_options() -> dict[str, bool]:
    """What a site file may set, and whether it may be a list."""
    once = dict.fromkeys(("gpus", "cpus", "time", "retries", "signal-delay", "python", "scratch", "apptainer"), False)
    listed = dict.fromkeys(("setup", ENVIRONMENT, "container-mounts"), True)
    return once | listed | {name: option.repeatable for name, option in schedulers.own_options().items()}


def minutes(text: str) -> int:
    """`3d12h`, `90m` or `1d2h30m` in minutes."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?", text)
    if not match or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"'{text}' is not days, hours and minutes such as 3d12h or 90m")
    days, hours, rest = (int(value or 0) for value in match.groups())
    total = (days * 24 + hours) * 60 + rest
    if total > LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is more than {LONGEST // 1440} days")
    return total


def split_arguments(argv: list[str], description: str = "") -> tuple[str, argparse.Namespace, list[str]]:
    """(subcommand, the launcher's options, the tool's arguments).

    The options get an attribute `came_from`, which says of each where its value comes from.

    Raises:
        UserError: a misspelt subcommand or option of the launcher.
    """
    tool, rest = ("pretrain", argv) if not argv or argv[0].startswith("-") or "=" in argv[0] else (argv[0], argv[1:])
    known = [*TOOLS, *OTHERS]
    if tool not in known:
        near = difflib.get_close_matches(tool, known, 1, 0)[0]
        raise UserError(f"there is no subcommand '{tool}'; did you mean '{near}'? They are: {', '.join(known)}.")
    cut = rest.index("--") if "--" in rest else len(rest)
    options = parser(description)
    args, arguments = options.parse_known_args(rest[:cut])
    sources = {COMMAND_LINE: rest[:cut]}
    file = None if schedulers.find_scheduler(args.cluster).about.here else find_site_file(args.site)
    if file is not None:
        sources = {f"site file {file}": site_words(file, site_options()), **sources}
        args, arguments = options.parse_known_args([word for words in sources.values() for word in words])
    args.came_from = origins(options, sources)
    if args.network_check:
        return _network_check(args)
    own = [string for action in options._actions for string in action.option_strings]
    for argument in arguments:
        word = argument.split("=")[0]
        if word.startswith("--") and (alike := difflib.get_close_matches(word, own, 1, 0.8)):
            raise UserError(
                f"there is no option '{word}'; did you mean '{alike[0]}'? (After `--` it goes to the tool.)"
            )
    return tool, args, arguments + rest[cut + 1 :]


def _network_check(args: argparse.Namespace) -> tuple[str, argparse.Namespace, list[str]]:
    """The same resources for the check, which takes no arguments of the run and has a folder of its own."""
    if args.came_from["time"] != [COMMAND_LINE]:
        args.time = CHECK_MINUTES
    args.run_dir = args.run_dir and args.run_dir / "network-check"
    args.retries, args.follow, args.name, args.trials = 0, True, args.name or "network-check", None
    return "check_network", args, []
