"""Submitting what was planned into its run folder, and waiting for it."""

from __future__ import annotations

import shlex
import sys
import tempfile

from pretrain.runtime.errors import BAD_INPUT, STOPPED, UserError
from tools.launcher import cluster, job_record, snapshot, status, waiting
from tools.launcher.job_record import Record
from tools.launcher.plan import Launch
from tools.launcher.worker import exit_codes, logs
from tools.launcher.worker.rank import Task


def run(launch: Launch, follow: bool) -> int:
    """Submit; where `follow`, show rank 0 to the end and return the exit code of the rank that failed first, or 0.

    On this machine jobs of several commands run one after the other, and a job that crashes is started again.
    """
    if launch.cluster == "local":
        return _run_here(launch)
    record = submit(launch)
    if not follow:
        print(f"look: python tools/launch.py status {shlex.quote(str(launch.run_dir))} (or logs, cancel, resume)")
        return 0
    return wait(record)


def submit(launch: Launch) -> Record:
    """Hand a planned launch to SLURM and write its job.json.

    Raises:
        UserError: the folder cannot be written, a job of it is not over, or SLURM refuses.
    """
    cluster.require_slurm()
    _open_run_dir(launch)
    jobs = cluster.submit(launch.request, _tasks(launch), launch.logs, launch.code)
    return _recorded(launch, jobs[0].job_id.partition("_")[0])


def wait(record: Record) -> int:
    """Show what the first rank says until the job is over; the exit code of the rank that failed first, or 0."""
    each = record.each()
    follow = logs.follow(each[0].log(0))
    while not (state := status.state_of(record, exit_codes.PATIENCE)).over:
        next(follow)
        waiting.pause("slurm")
    next(follow)
    if state.word != "completed":
        print(f"error: {record.launch.tool}: {state}", file=sys.stderr)
    return state.code


def _tasks(launch: Launch) -> list[Task]:
    return [Task(command, launch.folder, launch.environment) for command in launch.commands]


def _recorded(launch: Launch, job_id: str) -> Record:
    record = job_record.new(launch, job_id)
    record.write()
    several = f"{len(launch.commands)} jobs of " if len(launch.commands) > 1 else ""
    where = f"{launch.request.nodes} node(s) x {launch.request.tasks} task(s), {launch.request.gpus} GPU(s) a node"
    print(f"{record.name}: {several}{where}; run folder {launch.run_dir}, log {record.each()[0].log(0)}", flush=True)
    return record


def _run_here(launch: Launch) -> int:
    _open_run_dir(launch)
    for task in _tasks(launch):
        for start in range(launch.request.retries + 1):
            job = cluster.submit_here(launch.request, task, launch.logs, launch.code)
            _recorded(launch, job.job_id)
            ended = waiting.wait_here(job, launch.request.ranks, launch.logs)
            failed = exit_codes.failure(ended, job.job_id, launch.request.ranks, launch.logs)
            if failed is None or failed[0] in (BAD_INPUT, STOPPED) or start == launch.request.retries:
                break
            print(
                f"launch.py: {failed[1]}; starting again from the newest checkpoint (retry {start + 1} of "
                f"{launch.request.retries})",
                flush=True,
            )
        if failed is not None and failed[0] == STOPPED:
            print(f"stopped: `python tools/launch.py resume {shlex.quote(str(launch.run_dir))}` goes on", flush=True)
            return STOPPED
        if failed is not None:
            print(f"error: {launch.tool}: {failed[1]}", file=sys.stderr)
            return failed[0]
    return 0


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
        record = job_record.read(launch.run_dir)
        if not (state := status.state_of(record)).over:
            raise UserError(
                f"{record.name} is {state} in {launch.run_dir}: wait for it, end it with "
                f"`python tools/launch.py cancel {shlex.quote(str(launch.run_dir))}`, or choose another --run-dir."
            )
    snapshot.write(launch)
    if launch.cluster == "slurm" and launch.run_dir.is_relative_to("/tmp"):
        print(f"note: {launch.run_dir} is below /tmp, which nodes seldom share: choose --run-dir.", file=sys.stderr)
