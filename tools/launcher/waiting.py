"""Waiting for a job from the process that started it, and ending one of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import STOPPED
from tools.launcher.worker import exit_codes
from tools.launcher.worker import logs as joblogs

if TYPE_CHECKING:
    import submitit

PAUSE = {"slurm": 2.0, "local": 0.2}  # seconds between two looks at a job
LONGEST_END = 120.0  # seconds that the ranks of this machine may take to write a checkpoint
AFTER_FAILURE = 10.0  # the same where one of them has failed, and the others can only wait for it in vain


def pause(cluster: str) -> None:
    """Between two looks at a job."""
    time.sleep(PAUSE[cluster])


def wait_here(job: submitit.Job, ranks: int, logs: Path) -> dict[int, exit_codes.Exit]:
    """Print what rank 0 says until a job of this machine ends, and return how each rank that told it ended.

    A rank that fails ends the others, as srun's --kill-on-bad-exit does; leaving this function by an exception (Ctrl-C,
    SIGTERM) ends them too, after they have written their checkpoint.
    """
    follow = joblogs.follow(joblogs.file(logs, job.job_id, 0))
    try:
        while not job.done():
            next(follow)
            if any(end.code not in (0, STOPPED) for end in exit_codes.read(logs, job.job_id, ranks).values()):
                end_here(int(job.job_id), job.done, AFTER_FAILURE)
            pause("local")
    finally:
        end_here(int(job.job_id), job.done)
        next(follow)
    return exit_codes.read(logs, job.job_id, ranks)


def end_here(pid: int, over: Callable[[], bool], patience: float = LONGEST_END) -> None:
    """End a job of this machine by its controlling process: ask every rank by SIGTERM, after `patience` kill them."""
    deadline = time.monotonic() + patience
    try:
        while not over():
            if time.monotonic() > deadline:
                return _kill(pid)
            _send(pid, signal.SIGTERM)  # submitit's controller hands it on to those it has started by now
            for _ in range(10):
                time.sleep(0.1)
                if over():
                    return
    except BaseException:  # asked again while we wait: somebody is in a hurry
        _kill(pid)
        raise


def _kill(pid: int) -> None:
    """The ranks, and with them their tools; the controller sees that and ends."""
    with contextlib.suppress(OSError):  # it ended in between
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            _send(int(child), signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended in between
        os.kill(pid, number)
