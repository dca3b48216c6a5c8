"""Look after the job of a run folder: python tools/launch.py status|logs|cancel|resume RUN_DIR."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from pretrain.errors import UserError
from tools import cluster, job_record, status
from tools.job_record import Record

COMMANDS = ("status", "logs")


def parser() -> argparse.ArgumentParser:
    """One subcommand for each of COMMANDS."""
    root = argparse.ArgumentParser(prog="launch.py", description=__doc__, allow_abbrev=False)
    commands = root.add_subparsers(dest="command", required=True)
    told = commands.add_parser("status", help="state, nodes, restarts, last step, images/s, ETA")
    told.add_argument("--json", action="store_true", help="the same as JSON")
    logs = commands.add_parser("logs", help="what a rank printed")
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on until the job is over; ends with its exit code"
    )
    logs.add_argument("--rank", type=int, default=0, metavar="R", help="default 0")
    for command in commands.choices.values():
        command.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder with the job.json of a launch")
    return root


def _status(record: Record, args: argparse.Namespace) -> int:
    told = status.report(record)
    print(json.dumps(told, indent=2) if args.json else status.table(told))
    return 0


def _logs(record: Record, args: argparse.Namespace) -> int:
    """With --follow the exit code of the rank that failed first, 1 for a job that was cancelled or vanished."""
    ranks = record.launch.request.ranks
    if not 0 <= args.rank < ranks:
        raise UserError(f"there is no rank {args.rank}: {record.name} has ranks 0 to {ranks - 1}.")
    log = record.log(args.rank)
    if not log.is_file():
        print(f"{record.name} is {status.state_of(record)}; {log} is not there (yet)", file=sys.stderr, flush=True)
    if args.follow:
        return _follow(record, log)
    if log.is_file():
        cluster.show_log(log.read_bytes().removesuffix(b"\n"))
    return 0


def _follow(record: Record, log: Path) -> int:
    follow = cluster.follow_log(log)
    while not (state := status.state_of(record, cluster.PATIENCE)).over:
        next(follow)
        time.sleep(cluster.PAUSE[record.launch.cluster])
    next(follow)
    if state.word != "completed":
        print(f"error: {record.name} {state}", file=sys.stderr)
    return state.code


def main(argv: list[str]) -> None:
    """Parse, read job.json, do."""
    args = parser().parse_args(argv)
    record = job_record.read(args.run_dir)
    if code := {"status": _status, "logs": _logs}[args.command](record, args):
        sys.exit(code)
