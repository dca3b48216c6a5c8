"""Run a tool on a cluster: python tools/launch.py [pretrain|convert|detection|evaluate|pipeline] [options] [arguments].

Without a subcommand it pretrains: `python tools/launch.py --nodes 8 data.root=IMAGENET/train` submits to SLURM, and the
same with `--cluster local` runs here. Options below are the launcher's; everything else goes to the tool as it stands
(after `--` even what looks like an option of the launcher). `python tools/launch.py pipeline --help` explains
pipelines, and `python tools/launch.py status --help` looking after a job that was started.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from tools.launcher import cli, control, schedulers, snapshot, submission
from tools.launcher.pipeline import run
from tools.launcher.pipeline.processes import end_with_us
from tools.launcher.plan import plan
from tools.launcher.request import Launch
from tools.launcher.site import origins
from tools.launcher.site.surroundings import tool_command


def _describe(launch: Launch) -> str:
    request, jobs = launch.request, len(launch.commands)
    variables = dict(launch.environment)
    variables |= {name: "..." for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    spelled = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    of = f" of each of {jobs} jobs" if jobs > 1 else ""
    parts = schedulers.find_scheduler(launch.cluster).preview(launch)
    parts.append(f"# {request.ranks} task(s){of}, each runs in {launch.folder}:")
    setup = schedulers.find_scheduler(launch.cluster).about.here
    parts += [f"{spelled} {shlex.join(tool_command(launch, command, setup))}" for command in launch.commands]
    for shown in launch.shown:
        parts += ["# resolved configuration:", shown.rstrip()]
    return "\n".join(parts)


def parser() -> argparse.ArgumentParser:
    """The launcher's own options; its subcommands have parsers of their own."""
    return cli.parser(__doc__)


def main(argv: list[str] | None = None) -> None:
    """Parse, decide, then print or run."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["pipeline"]:
        return run.main(argv[1:])
    if argv and argv[0] in control.COMMANDS:
        return control.main(argv)
    tool, args, arguments = cli.split_arguments(argv, __doc__)
    launch = snapshot.from_snapshot(plan(tool, args, arguments))
    if args.dry_run:
        print(*origins.table(args, launch.request), _describe(launch), sep="\n")
    elif code := submission.start_launch(launch, args.follow):
        sys.exit(code)


if __name__ == "__main__":
    end_with_us()
    run_tool(main)
