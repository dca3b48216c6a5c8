"""What the launcher asks of a scheduler. docs/extending.md adds one.

A job runs one command in `nodes` x `tasks` processes, its ranks. Whatever the scheduler, rank R of job J prints into
LOGS/J_R_log.out (worker/logs.py) and its end is written to LOGS/J_R_exit.json (worker/exit_codes.py). So logs, exit
codes and the state of a finished job need nothing of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from tools.launcher.request import Launch, Request

Phase = Literal["pending", "running", "completed", "failed", "cancelled", "gone", "silent"]


class OwnOption(NamedTuple):
    """An option that a scheduler adds to the launcher's.

    repeatable: given as KEY=VALUE, any number of times; starts: these are for what starts the ranks.
    """

    name: str
    help: str
    metavar: str | None = None
    repeatable: bool = False
    starts: bool = False


@dataclass(frozen=True)
class About:
    """What is true of all jobs of a scheduler.

    help: for --cluster. title: its name in a sentence. gone: the sentence about a job that it no longer knows.
    here: jobs are processes of this machine, so its cores, GPUs and folders can be looked at now, and nothing ends
    what a job leaves behind. attended: the launcher waits for a job, starts it again after a crash, and ends it when it
    ends itself. pause: seconds between two looks at a job. remarks: how its own lines among a rank's output begin.
    gpus_in: how many GPUs a node its own options ask for, given those by name, its KEY=VALUE and the number of nodes.
    """

    help: str
    title: str
    gone: str
    here: bool = False
    attended: bool = False
    pause: float = 2.0
    options: tuple[OwnOption, ...] = ()
    remarks: tuple[str, ...] = ()
    gpus_in: Callable[[Mapping[str, str | int], Mapping[str, str | bool], int], int | None] = lambda _, __, ___: None


class Job(NamedTuple):
    """A job that was submitted. logs: where it writes. host: the machine that it was submitted on."""

    job_id: str
    logs: Path
    host: str


class Answer(NamedTuple):
    """What a scheduler says of a job.

    phase: gone is a job that it does not know (any more), silent a scheduler that does not answer. why: the reason of
    a pending job or of the silence; else the scheduler's own word where that says more than the phase. nodes: as the
    scheduler abbreviates them. restarts: None where it does not count them.
    """

    phase: Phase
    why: str = ""
    nodes: str = ""
    restarts: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the job may go on; no answer means yes."""
        return self.phase in ("pending", "running", "silent")


class RankEnvironment(NamedTuple):
    """Where a rank stands. local_rank: on its node. first_node: names or addresses of it, the best first.

    start: differs each time that the ranks of the same job start.
    """

    job_id: str
    rank: int
    ranks: int
    local_rank: int
    nodes: int = 1
    first_node: tuple[str, ...] = ()
    start: str = "0"


class Start(NamedTuple):
    """What starts one rank or several.

    words: what stands before the command of a rank. log: gets the output, where the words do not direct it.
    """

    words: list[str]
    log: Path | None = None


class Refused(Exception):  # noqa: N818 - no error of ours
    """The scheduler does not do what it was asked; the text says why."""


class Starter(Protocol):
    """What worker/restart.py, the first process of a job, asks about that job."""

    def job(self) -> tuple[str, str]:
        """(id of the job that this process belongs to, its nodes)."""

    def starts(self, logs: Path, job_id: str, ranks: int, cpus: int, more: Sequence[str]) -> list[Start]:
        """What starts all ranks of the job, at the same time; one that fails ends the others.

        Args:
            logs: the job's folder of logs.
            job_id: as `job` tells it.
            ranks: how many processes the job has.
            cpus: cores of each.
            more: words that the scheduler itself gave to `first_words` when it submitted the job.
        """


class Queue(Protocol):
    """What a scheduler can do whose jobs wait: arrays, jobs that wait for others, and going back into the queue.

    With a queue, several commands of one launch are one array: its job J has the parts J_0, J_1 and so on.
    """

    def after(self, request: Request, needed: Sequence[str]) -> Request:
        """`request` for a job that starts once all of the jobs `needed` ended well, and is dropped otherwise."""

    def at_once(self, request: Request, count: int) -> Request:
        """`request` for an array of which at most `count` jobs run at the same time."""

    def requeue(self) -> str | None:
        """Put the job that this process belongs to back into the queue, from inside of it.

        Returns:
            None once it waits there; otherwise why it does not, empty where the job is being ended anyway.
        """


class Scheduler(Protocol):
    """One way of running jobs."""

    @property
    def about(self) -> About:
        """What is true of all its jobs."""

    @property
    def queue(self) -> Queue | None:
        """None where jobs start at once, or never."""

    @property
    def starter(self) -> Starter | None:
        """How the first process of a job starts the ranks; None where its jobs have no such process."""

    def require(self) -> None:
        """See that jobs can be submitted on this machine.

        Raises:
            UserError: what is missing, and what to do.
        """

    def check(self, request: Request) -> None:
        """See that a request makes sense, before anything is written.

        Raises:
            UserError: what does not, and what to ask for.
        """

    def preview(self, launch: Launch) -> list[str]:
        """What --dry-run shows above the commands of the ranks: lines, each of which may be many."""

    def submit(self, launch: Launch) -> str:
        """Hand over a launch whose run folder is ready; the id of its job, in which worker/logs.py finds its output.

        Raises:
            UserError: it is refused.
        """

    def state(self, job: Job) -> Answer:
        """What is to be said of a job now. Another job that got the same id is not it."""

    def cancel(self, job: Job, patience: float) -> None:
        """End a job, or ask for its end; nothing where it is over.

        Args:
            job: any that was submitted, also by another process.
            patience: seconds that its ranks may take to write a checkpoint, where this process is who ends them.

        Raises:
            Refused: it does not.
            PermissionError: the job is somebody else's.
        """

    def rank_environment(self) -> RankEnvironment:
        """Where this process, a rank, stands in its job; read from its environment."""
