"""This machine: jobs are processes that submitit starts at once, and that end with the launcher."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.launcher.request import Launch, Request
from tools.launcher.schedulers.base import About, Answer, Job, RankEnvironment
from tools.launcher.worker.rank import tasks_of
from tools.launcher.worker.restart import python

if TYPE_CHECKING:
    import submitit


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the launcher ends them in order, after their checkpoint."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # an ignored signal stays ignored through exec
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(pid: int, over: Callable[[], bool], patience: float) -> None:
    """End a job by its controlling process: ask every rank by SIGTERM, after `patience` seconds kill them."""
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


class Local:
    """As base.Scheduler describes it."""

    about = About(
        help="run here and wait",
        title="this machine",
        gone="its process is gone",
        here=True,
        attended=True,
        pause=0.2,
    )
    queue = None
    starter = None  # submitit starts the ranks, and the launcher starts a job again

    def __init__(self) -> None:
        self._started: dict[str, submitit.Job[Any]] = {}  # by this process, which alone can wait for them
        atexit.register(self._started.clear)  # later submitit could no longer take its jobs down

    def require(self) -> None:
        """Nothing: every machine can."""

    def check(self, request: Request) -> None:
        """Nothing beyond what holds for all that run here."""

    def preview(self, launch: Launch) -> list[str]:
        """Nothing: the commands of the ranks are all."""
        return []

    def submit(self, launch: Launch) -> str:
        """Start the first command's ranks; the id is that of the process that controls them."""
        from submitit import LocalExecutor

        request = launch.request
        launch.logs.mkdir(parents=True, exist_ok=True)
        executor = LocalExecutor(launch.logs, python=shlex.join(python(launch.code)))
        executor.update_parameters(
            tasks_per_node=request.tasks,
            gpus_per_node=request.gpus,
            timeout_min=request.minutes,
            signal_delay_s=request.signal_delay,
            stderr_to_stdout=True,
        )
        with _ignoring_interrupts():
            job = executor.submit(tasks_of(launch)[0])
        self._started[job.job_id] = job
        return job.job_id

    def state(self, job: Job) -> Answer:
        """By the controlling process, as long as that is the process that it was."""
        if job.host != socket.gethostname():
            return Answer("silent", f"it was started on {job.host}, which alone can tell", job.host)
        if job.job_id in self._started:  # /proc would show nothing at all while a process begins another program
            return Answer("gone" if self._started[job.job_id].done() else "running", nodes=job.host)
        try:
            words = Path(f"/proc/{job.job_id}/cmdline").read_text().rstrip("\0").split("\0")
        except OSError:
            return Answer("gone", nodes=job.host)
        return Answer("running" if words[-2:] == ["submitit.local._local", str(job.logs)] else "gone", nodes=job.host)

    def cancel(self, job: Job, patience: float) -> None:
        """End it, and wait until it is over.

        Its process is signalled alone: its process group is also that of the script or pipeline that launched it.
        """
        _end(int(job.job_id), lambda: self.state(job).phase != "running", patience)

    def rank_environment(self) -> RankEnvironment:
        """From submitit's variables."""
        import submitit

        job = submitit.JobEnvironment()
        return RankEnvironment(job.job_id, job.global_rank, job.num_tasks, job.local_rank)


SCHEDULER = Local()
