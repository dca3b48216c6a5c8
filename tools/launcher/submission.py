"""Submitting what was planned into its run folder, and following it to its end."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
import time
from pathlib import Path

from pretrain.runtime.errors import BAD_INPUT, STOPPED, UserError
from pretrain.runtime.repository import spoken
from tools.launcher import job_record, schedulers, snapshot, status
from tools.launcher.job_record import JobRecord
from tools.launcher.request import Launch
from tools.launcher.worker import exit_codes
from tools.launcher.worker.logs import follow_log

LONGEST_END = 120.0  # seconds that ranks may take to write a checkpoint
AFTER_FAILURE = 10.0  # the same after a rank has failed: the others wait for it and cannot go on


def start_launch(launch: Launch, follow: bool) -> int:
    """Submit; where `follow`, show rank 0 to the end and return the exit code of the rank that failed first, or 0.

    With a scheduler that is attended, several commands run one after the other, and each is followed to its end.
    """
    if schedulers.find_scheduler(launch.cluster).about.attended:
        return _run_attended(launch)
    record = submit(launch)
    if not follow:
        launcher = spoken("python tools/launch.py")
        print(f"look: {launcher} status {shlex.quote(str(launch.run_dir))} (or logs, cancel, resume)")
        return 0
    return wait(record)


def submit(launch: Launch) -> JobRecord:
    """Hand a planned launch to its scheduler and write its job.json.

    Raises:
        UserError: the folder cannot be written, a job of it is not over, or the scheduler refuses.
    """
    scheduler = schedulers.find_scheduler(launch.cluster)
    scheduler.require()
    _open_run_dir(launch)
    return _recorded(launch, scheduler.submit(launch))


def wait(record: JobRecord) -> int:
    """Show what the first rank says until the job is over; the exit code of the rank that failed first, or 0."""
    state = follow_to_end(record, record.each()[0].log(0), exit_codes.PATIENCE)
    if state.word != "completed":
        print(f"error: {record.launch.tool}: {state}", file=sys.stderr)
    return state.code


def follow_to_end(record: JobRecord, log: Path, patience: float) -> status.State:
    """Show a log until the job is over; its last state.

    Args:
        record: of the job, or of an array.
        log: of one of its ranks.
        patience: seconds to wait at most for the exit files of a job that is over at the first look. At later looks it
            was alive a moment ago, so its last files may still be on their way.
    """
    shown = follow_log(log)
    while not (state := status.job_state(record, patience)).over:
        patience = exit_codes.PATIENCE
        next(shown)
        time.sleep(record.scheduler.about.pause)
    next(shown)
    return state


def _recorded(launch: Launch, job_id: str) -> JobRecord:
    record = job_record.new_record(launch, job_id)
    record.write()
    several = f"{len(launch.commands)} jobs of " if len(launch.commands) > 1 else ""
    where = f"{launch.request.nodes} node(s) x {launch.request.tasks} task(s), {launch.request.gpus} GPU(s) a node"
    print(f"{record.name}: {several}{where}; run folder {launch.run_dir}, log {record.each()[0].log(0)}", flush=True)
    return record


def _run_attended(launch: Launch) -> int:
    _open_run_dir(launch)
    for command in launch.commands:
        failed = _retried(launch, dataclasses.replace(launch, commands=(command,)))
        if failed is None:
            continue
        if failed[0] == STOPPED:
            again = f"{spoken('python tools/launch.py')} resume {shlex.quote(str(launch.run_dir))}"
            print(f"stopped: `{again}` goes on", flush=True)
        else:
            print(f"error: {launch.tool}: {failed[1]}", file=sys.stderr)
        return failed[0]
    return 0


def _retried(launch: Launch, one: Launch) -> tuple[int, str] | None:
    """Run one command of a launch, again after a crash; exit code and sentence of its last failure, None if it ended
    well."""
    retries, ranks = launch.request.retries, launch.request.ranks
    for retry in range(1, retries + 2):
        record = _recorded(launch, schedulers.find_scheduler(launch.cluster).submit(one))
        failed = exit_codes.first_failure(attend(record), record.job_id, ranks, record.logs)
        if failed is None or failed[0] in (BAD_INPUT, STOPPED) or retry > retries:
            break
        again = f"starting again from the newest checkpoint (retry {retry} of {retries})"
        print(f"launch.py: {failed[1]}; {again}", flush=True)
    return failed


def attend(record: JobRecord) -> dict[int, exit_codes.Exit]:
    """Print what rank 0 says until a job ends; how each rank that has written its end ended.

    A rank that fails ends the others. Leaving this function by an exception (Ctrl-C, SIGTERM) ends them too, after
    they have written their checkpoint.
    """
    scheduler, ranks, shown = record.scheduler, record.launch.request.ranks, follow_log(record.log(0))
    try:
        while scheduler.state(record.job).alive:
            next(shown)
            exits = exit_codes.read_exits(record.logs, record.job_id, ranks)
            if any(end.code not in (0, STOPPED) for end in exits.values()):
                scheduler.cancel(record.job, AFTER_FAILURE)
            time.sleep(scheduler.about.pause)
    finally:
        scheduler.cancel(record.job, LONGEST_END)
        next(shown)
    return exit_codes.read_exits(record.logs, record.job_id, ranks)


def _open_run_dir(launch: Launch) -> None:
    """Make the run folder, see that no other job works in it, and put the snapshot there."""
    try:
        launch.logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=launch.run_dir):
            pass
    except OSError as error:
        raise UserError(
            f"run folder {launch.run_dir} cannot be written ({error.strerror}): choose --run-dir."
        ) from error
    if (launch.run_dir / "job.json").is_file():
        record = job_record.read_record(launch.run_dir)
        if not (state := status.job_state(record)).over:
            raise UserError(
                f"{record.name} is {state} in {launch.run_dir}: wait for it, end it with "
                f"`python tools/launch.py cancel {shlex.quote(str(launch.run_dir))}`, or choose another --run-dir."
            )
    snapshot.write_snapshot(launch)
    here = schedulers.find_scheduler(launch.cluster).about.here
    if not here and launch.run_dir.is_relative_to("/tmp"):
        print(f"note: {launch.run_dir} is below /tmp, which nodes seldom share: choose --run-dir.", file=sys.stderr)
