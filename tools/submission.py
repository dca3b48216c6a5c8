"""Submitting what was planned into its run folder, and waiting for it."""

from __future__ import annotations

import shlex
import sys
import tempfile

from pretrain.errors import UserError
from tools import cluster, job_record
from tools.plan import Launch


def run(launch: Launch, wait: bool) -> int:
    """Submit; where `wait`, follow rank 0 to the end and return the exit code of the rank that failed first, or 0."""
    if launch.cluster == "slurm":
        cluster.require_slurm()
    _open_run_dir(launch)
    task = cluster.Task(launch.command, launch.folder, launch.environment)
    job = cluster.submit(launch.cluster, launch.request, task, launch.logs)
    record = job_record.new(launch, job.job_id)
    record.write()
    where = f"{launch.request.nodes} node(s) x {launch.request.tasks} task(s), {launch.request.gpus} GPU(s) a node"
    print(f"{record.name}: {where}; run folder {launch.run_dir}, log {record.log(0)}", flush=True)
    if not wait:
        print(f"look: python tools/launch.py status {shlex.quote(str(launch.run_dir))} (or logs, cancel, resume)")
        return 0
    exits = cluster.wait(job, launch.cluster, launch.request.ranks, launch.logs)
    failed = cluster.failure(exits, job.job_id, launch.request.ranks, launch.logs)
    if failed is None:
        return 0
    print(f"error: {launch.tool}: {failed[1]}", file=sys.stderr)
    return failed[0]


def _open_run_dir(launch: Launch) -> None:
    """Make the run folder and write into it once."""
    try:
        launch.logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=launch.run_dir):
            pass
    except OSError as error:
        raise UserError(
            f"run folder {launch.run_dir} cannot be written ({error.strerror}): choose --run-dir."
        ) from error
    if launch.cluster == "slurm" and launch.run_dir.is_relative_to("/tmp"):
        print(f"note: {launch.run_dir} is below /tmp, which nodes seldom share: choose --run-dir.", file=sys.stderr)
