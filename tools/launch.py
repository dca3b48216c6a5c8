"""Run a tool on a cluster: python tools/launch.py [pretrain|convert|detection|evaluate|pipeline] [options] [arguments].

Without a subcommand it pretrains: `python tools/launch.py --nodes 8 data.root=IMAGENET/train` submits to SLURM, and the
same with `--cluster local` runs here. Options below are the launcher's; everything else goes to the tool as it stands
(after `--` even what looks like an option of the launcher). `launch.py pipeline --help` explains pipelines, and
`launch.py status --help` looking after a job that was started.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.errors import UserError, run_tool
from tools import attempts, cluster, control, snapshot, submission
from tools.plan import OPTIONS, TOOLS, Launch, plan
from tools.stages import end_with_us


def parser() -> argparse.ArgumentParser:
    """The launcher's options."""
    root = argparse.ArgumentParser(
        prog="launch.py",
        usage="%(prog)s [TOOL] [options] [--] [arguments of the tool]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"TOOL: {', '.join(TOOLS)}, pipeline; or, for the job of a run folder: {', '.join(control.COMMANDS)}",
        allow_abbrev=False,
    )
    add = root.add_argument
    add("--cluster", choices=("slurm", "local"), default="slurm", help="submit to SLURM, or run here and wait")
    add("--nodes", type=int, default=1, metavar="N", help="machines (default 1)")
    add("--gpus", type=int, metavar="G", help="GPUs a node; 0 is CPU and gloo (default: 8 for pretrain; all, locally)")
    add("--tasks", type=int, metavar="T", help="processes a node (default: one a GPU, at least one)")
    add("--cpus", type=int, metavar="C", help="cores a process (default: one, and one for each loading process)")
    add("--time", type=minutes, default=3 * 24 * 60, metavar="3d12h", help="time limit: d, h and m (default 3d)")
    for name in OPTIONS:
        add(f"--{name}", help="as in sbatch")
    add("--mem", metavar="64G", help="memory a node, as in sbatch")
    add("--slurm", action="append", default=[], metavar="KEY[=VALUE]", help="any other option of sbatch, repeatable")
    add("--run-dir", type=Path, metavar="DIR", help="gets job.json and jobs/ (logs); for pretrain it is the run_dir")
    add("--name", help="name of the job in the queue (default: of the tool or configuration)")
    add("--trials", type=int, metavar="N", help="N jobs (on SLURM an array), in which {trial} is 0 to N-1")
    add("--retries", type=int, default=3, metavar="R", help="starts after a crash, from the checkpoint (default 3)")
    add("--signal-delay", type=int, default=120, metavar="S", help="seconds before the time limit to stop in (120)")
    add("--follow", action="store_true", help="on SLURM too, show rank 0's log to the end and return the exit code")
    add("--dry-run", action="store_true", help="print what would be submitted, and do nothing")
    return root


def minutes(text: str) -> int:
    """`3d12h`, `90m` or `1d2h30m` in minutes."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?", text)
    if not match or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"'{text}' is not days, hours and minutes such as 3d12h or 90m")
    days, hours, rest = (int(value or 0) for value in match.groups())
    return (days * 24 + hours) * 60 + rest


def split(argv: list[str]) -> tuple[str, argparse.Namespace, list[str]]:
    """(subcommand, the launcher's options, the tool's arguments).

    Raises:
        UserError: a misspelt subcommand or option of the launcher.
    """
    tool, rest = ("pretrain", argv) if not argv or argv[0].startswith("-") or "=" in argv[0] else (argv[0], argv[1:])
    known = [*TOOLS, "pipeline", *control.COMMANDS]
    if tool not in known:
        near = difflib.get_close_matches(tool, known, 1, 0)[0]
        raise UserError(f"there is no subcommand '{tool}'; did you mean '{near}'? They are: {', '.join(known)}.")
    cut = rest.index("--") if "--" in rest else len(rest)
    options = parser()
    args, arguments = options.parse_known_args(rest[:cut])
    own = [string for action in options._actions for string in action.option_strings]
    for argument in arguments:
        word = argument.split("=")[0]
        if word.startswith("--") and (near := difflib.get_close_matches(word, own, 1, 0.8)):
            raise UserError(f"there is no option '{word}'; did you mean '{near[0]}'? (After `--` it goes to the tool.)")
    return tool, args, arguments + rest[cut + 1 :]


def _describe(launch: Launch) -> str:
    request, jobs = launch.request, len(launch.commands)
    variables = dict(launch.environment)
    variables |= {name: "..." for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    spelled = " ".join(f"{name}={value or repr('')}" for name, value in variables.items())
    of = f" of each of {jobs} jobs" if jobs > 1 else ""
    parts = [f"# {request.ranks} task(s){of}, each runs in {launch.folder}:"]
    parts += [f"{spelled} {shlex.join(command)}" for command in launch.commands]
    if launch.cluster == "slurm":
        text = cluster.sbatch_text(request, launch.logs, launch.code, jobs if jobs > 1 else None)
        started = shlex.join(attempts.srun(launch.logs, "JOB", request.cpus))
        parts = [
            "# sbatch would get:",
            text,
            f"# which starts, and up to {request.retries} times again:",
            started,
            *parts,
        ]
    for shown in launch.shown:
        parts += ["# resolved configuration:", shown.rstrip()]
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Parse, decide, then print or run."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["pipeline"]:
        from tools import pipeline

        return pipeline.main(argv[1:])
    if argv and argv[0] in control.COMMANDS:
        return control.main(argv)
    tool, args, arguments = split(argv)
    launch = snapshot.planned(plan(tool, args, arguments))
    if args.dry_run:
        print(_describe(launch))
    elif code := submission.run(launch, follow=args.follow or args.cluster == "local"):
        sys.exit(code)


if __name__ == "__main__":
    end_with_us()
    run_tool(main)
