"""Look after the job of a run folder: python tools/launch.py status|logs|cancel|resume RUN_DIR."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.arguments import a_path, program
from tools.launcher import job_record, status, submission
from tools.launcher.job_record import JobRecord
from tools.launcher.pipeline import dependent_jobs, here, run
from tools.launcher.schedulers.base import Refused
from tools.launcher.worker.logs import show_log

COMMANDS = ("status", "logs", "cancel", "resume")
LONGEST_END = 150.0  # seconds that cancel waits for a job to be over


def parser() -> argparse.ArgumentParser:
    """One subcommand for each of COMMANDS."""
    root = argparse.ArgumentParser(prog=program("launch"), description=__doc__, allow_abbrev=False)
    commands = root.add_subparsers(dest="command", required=True)
    told = commands.add_parser("status", help="state, nodes, restarts, last step, images/s, ETA")
    told.add_argument("--json", action="store_true", help="the same as JSON (default: a table)")
    logs = commands.add_parser("logs", help="what a rank printed")
    follow = "go on until the job is over, and end with its exit code (default off)"
    logs.add_argument("-f", "--follow", action="store_true", help=follow)
    logs.add_argument("--rank", type=int, default=0, metavar="R", help="of which rank, from 0 (default 0)")
    logs.add_argument("--trial", type=int, default=0, metavar="N", help="of which job of an array, from 0 (default 0)")
    commands.add_parser("cancel", help="end the job, and wait until it is over")
    commands.add_parser("resume", help="submit the same again, which goes on from the newest checkpoint")
    folder = "folder of a launch, or the out of a pipeline"
    for command in commands.choices.values():
        command.add_argument("run_dir", type=a_path, metavar="RUN_DIR", help=folder)
    return root


def _status(record: JobRecord, args: argparse.Namespace) -> int:
    told = status.report(record)
    print(json.dumps(told, indent=2) if args.json else status.as_table(told))
    return 0


def _logs(record: JobRecord, args: argparse.Namespace) -> int:
    """With --follow the exit code of the rank that failed first, 1 for a job that was cancelled or vanished."""
    ranks, jobs = record.launch.request.ranks, record.each()
    if not 0 <= args.trial < len(jobs):
        raise UserError(f"there is no trial {args.trial}: {record.name} has {len(jobs)} job(s), from 0.")
    record = jobs[args.trial]
    if not 0 <= args.rank < ranks:
        raise UserError(f"there is no rank {args.rank}: {record.name} has ranks 0 to {ranks - 1}.")
    log = record.log(args.rank)
    if not log.is_file():
        print(f"{record.name} is {status.job_state(record)}; {log} is not there (yet)", file=sys.stderr, flush=True)
    if args.follow:
        return _follow(record, log)
    if log.is_file():
        show_log(log.read_bytes().removesuffix(b"\n"))
    return 0


def _follow(record: JobRecord, log: Path) -> int:
    state = submission.follow_to_end(record, log, patience=0)
    if state.word != "completed":
        print(f"error: {record.name} {state}", file=sys.stderr)
    return state.code


def _cancel(record: JobRecord, args: argparse.Namespace) -> int:
    """0 once the job is over, 1 where it takes longer than LONGEST_END."""
    state = status.job_state(record)
    if state.over:
        print(f"{record.name} is over already: {state}")
        return 0
    if state.word == "unknown":
        raise UserError(f"{record.name} cannot be cancelled from here: {state.why}.")
    cancelled = end_job(record)
    deadline = time.monotonic() + LONGEST_END
    while not (state := status.job_state(cancelled)).over:
        if time.monotonic() > deadline:
            late = f"{record.name} is still {state} {LONGEST_END:.0f} s after it was asked to end"
            print(f"error: {late}: look again with status.", file=sys.stderr)
            return 1
        time.sleep(0.5)
    print(f"{record.name} is over: {state}")
    return 0


def end_job(record: JobRecord) -> JobRecord:
    """Ask the job to end, and note that in job.json: exit codes do not say who wanted the end.

    Raises:
        UserError: it is somebody else's, or its scheduler does not end it.
    """
    cancelled = dataclasses.replace(record, cancelled=True)
    try:
        cancelled.write()
        record.scheduler.cancel(record.job, submission.LONGEST_END)
    except PermissionError as error:
        raise UserError(f"{record.name} belongs to somebody else ({error}): ask its owner to cancel it.") from error
    except Refused as refused:
        if not status.job_state(record).over:
            record.write()
            title = record.scheduler.about.title
            raise UserError(f"{title} does not cancel {record.name} ({refused}): try again.") from refused
    return cancelled


def _resume(record: JobRecord, args: argparse.Namespace) -> int:
    """As submission.start_launch; a job that is attended is waited for."""
    launch, state = record.launch, status.job_state(record)
    if not state.over:
        raise UserError(f"{record.name} is {state}: it can be resumed once it is over (cancel ends it).")
    if launch.run_dir.resolve() != record.run_dir:
        raise UserError(f"{record.run_dir} was {launch.run_dir} when {record.name} was launched: move it back.")
    if not launch.code.is_dir():
        raise UserError(
            f"the code that {record.name} ran, {launch.code}, is gone: launch it anew with the same --run-dir."
        )
    return submission.start_launch(launch, follow=record.scheduler.about.attended)


def _resume_pipeline(out: Path) -> None:
    """Submit again what did not end well, with the command and from the folder of the first time."""
    written = json.loads((out / dependent_jobs.FILE).read_text(encoding="utf-8"))
    os.chdir(written["folder"])
    run.main([word for word in written["command"] if word != "--again"])


def _pipeline(args: argparse.Namespace, stages: list[tuple[str, JobRecord]]) -> None:
    """The same for all stages of a pipeline."""
    if args.command == "logs":
        folders = ", ".join(str(record.run_dir) for _, record in stages)
        raise UserError(f"{args.run_dir} is a pipeline: name the folder of one of its stages ({folders}).")
    if args.command == "resume":
        return _resume_pipeline(args.run_dir)
    if args.command == "status":
        told = {name: status.report(record) for name, record in stages}
        print(json.dumps(told, indent=2) if args.json else status.as_lines(told))
        return None
    for name, record in reversed(stages):  # those that wait before those they wait for
        print(f"{name}: ", end="", flush=True)
        _cancel(record, args)


def _pipeline_here(args: argparse.Namespace, written: dict[str, Any]) -> None:
    """The same for a pipeline of this machine, whose stages are processes."""
    told = here.report(args.run_dir, written)
    if args.command == "status":
        print(json.dumps(told, indent=2) if args.json else here.as_lines(told))
    elif args.command == "logs":
        logs = ", ".join(one["log"] for one in told.values() if one["log"])
        raise UserError(f"{args.run_dir} is a pipeline of this machine: read the logs of its stages ({logs}).")
    elif args.command == "cancel":
        here.cancel(args.run_dir)
    elif "command" not in written:
        raise UserError(f"{args.run_dir} does not say by which command it was made: type that again.")
    elif runs := here.holder(args.run_dir):
        raise UserError(f"the pipeline in {args.run_dir} runs (process {runs.pid} on {runs.host}): wait or cancel it.")
    else:
        _resume_pipeline(args.run_dir)


def main(argv: list[str]) -> None:
    """Parse, read job.json, do."""
    args = parser().parse_args(argv)
    if not (args.run_dir / "job.json").is_file() and (written := here.read(args.run_dir, dependent_jobs.FILE)):
        return _pipeline_here(args, written)
    if stages := dependent_jobs.read_stages(args.run_dir):
        return _pipeline(args, stages)
    record = job_record.read_record(args.run_dir)
    if code := {"status": _status, "logs": _logs, "cancel": _cancel, "resume": _resume}[args.command](record, args):
        sys.exit(code)
