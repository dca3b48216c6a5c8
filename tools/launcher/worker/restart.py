"""The first process of a job. It starts the ranks, and restarts them after a crash.

What it does next depends on how the ranks ended:
- success: the job is completed;
- bad input (exit code 2): the job fails, since a restart would fail again;
- stopped on request (exit code 75), near the time limit or before pre-emption: the job goes back into the queue and
  resumes later;
- anything else, such as a crash or a killed rank: the ranks start again at once on the same nodes, at most --retries
  times. They resume from the newest checkpoint without waiting in the queue.
After the loss of a node or a requeue by hand, the scheduler ends this process and starts the job again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from pretrain.runtime.errors import BAD_INPUT, STOPPED
from tools.launcher import schedulers
from tools.launcher.request import Launch
from tools.launcher.schedulers.base import Queue, Start, Starter
from tools.launcher.site.surroundings import host_python
from tools.launcher.worker import exit_codes

REMIND = 5.0  # seconds between warnings to the ranks: a rank that was still starting missed the first
AFTER_FAILURE = 10.0  # seconds after which the other ranks are ended when one has failed: they would wait for it


def python(code: Path, interpreter: str = sys.executable) -> list[str]:
    """The words of an interpreter that finds the packages below `code`, from whatever folder."""
    path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")]))
    libraries = os.environ.get("LD_LIBRARY_PATH")  # which an interpreter may need, and a site may not export
    return ["env", f"PYTHONPATH={path}", *([f"LD_LIBRARY_PATH={libraries}"] if libraries else []), interpreter]


def first_words(launch: Launch, more: Sequence[str] = ()) -> list[str]:
    """The words that start this module as the first process of a job; the command of a rank follows them.

    Args: more: what `Starter.starts` is to get, of this launch.
    """
    request = launch.request
    options = {"cluster": launch.cluster, "logs": launch.logs, "ranks": request.ranks, "cpus": request.cpus}
    options["retries"] = request.retries
    words = [f"--{name}={value}" for name, value in options.items()]
    words += [f"--starter={word}" for word in more]
    return [*python(launch.code, host_python(request)), "-m", "tools.launcher.worker.restart", *words, "--"]


@dataclass(frozen=True)
class Attempt:
    """One start of all ranks. outcome: completed, failed, retried or requeued; times: seconds since 1970."""

    outcome: str
    why: str
    code: int
    nodes: str
    started: float
    ended: float


def attempts_file(logs: Path, job_id: str) -> Path:
    """One JSON object a line, the oldest first."""
    return logs / f"{job_id}_attempts.jsonl"


def read_attempts(logs: Path, job_id: str) -> list[Attempt]:
    """All starts of a job that have ended and were written down."""
    path = attempts_file(logs, job_id)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Attempt(**json.loads(line)) for line in lines if line.endswith("}")]


class Signals:
    """Which signals the scheduler has sent to this process."""

    def __init__(self) -> None:
        self.warned = self.ending = False

    def listen(self) -> None:
        """Note SIGUSR2, a warning that is passed on to the ranks, and SIGTERM, the end, which also reaches them."""
        signal.signal(signal.SIGUSR2, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.warned |= number == signal.SIGUSR2
        self.ending |= number == signal.SIGTERM


def _start_ranks(starts: Sequence[Start], command: Sequence[str], signals: Signals) -> int:
    """Run all of `starts` to their end and return the exit code of the first that failed, or 0."""
    processes = [_started(start, command) for start in starts]
    warned_at, failed_at = 0.0, 0.0
    while living := [process for process in processes if process.poll() is None]:
        now = time.monotonic()
        if signals.warned and now > warned_at + REMIND:
            warned_at = now
            for process in living:
                process.send_signal(signal.SIGUSR2)
        if any(process.returncode for process in processes):
            failed_at = failed_at or now
            for process in living:
                process.kill() if now > failed_at + AFTER_FAILURE else process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            living[0].wait(0.5)
    return next((process.returncode for process in processes if process.returncode), 0)


def _started(start: Start, command: Sequence[str]) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(start.log, "ab")) if start.log else None
        errors = None if log is None else subprocess.STDOUT
        return subprocess.Popen([*start.words, *command], stdout=log, stderr=errors)


def decide(ended: dict[int, exit_codes.Exit], code: int, signals: Signals, retries: int) -> str:
    """Decide what happens to a job whose ranks have ended.

    Args:
        ended: how each rank ended, for those that have recorded it.
        code: exit code of the process that started the ranks.
        signals: the signals that the scheduler has sent.
        retries: how many more times the ranks may start.

    Returns: an outcome of Attempt.
    """
    if exit_codes.stopped_on_request(ended) or (signals.warned and code):
        return "requeued"
    if code == 0:
        return "completed"
    first = exit_codes.first_of(ended)
    bad_input = first is not None and first.code == BAD_INPUT
    return "failed" if bad_input or signals.ending or retries < 1 else "retried"


def _tell(sentence: str) -> None:
    print(f"launch.py: {sentence}", flush=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    schedulers.add_cluster(parser, schedulers.DEFAULT)  # batch scripts of earlier code do not name it
    parser.add_argument("--logs", type=Path, required=True, help="the job's folder of logs")
    parser.add_argument("--ranks", type=int, required=True, help="processes of the job on all its nodes, at least 1")
    parser.add_argument("--cpus", type=int, required=True, help="cores of each process, at least 1")
    parser.add_argument("--retries", type=int, required=True, help="how many times they may start again, at least 0")
    parser.add_argument("--starter", action="append", default=[], help="a word for what starts them, repeatable")
    parser.add_argument("command", nargs="+", help="of a rank")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Start the ranks until the job is over or requeued; return its exit code."""
    args = _arguments(argv)
    scheduler, signals = schedulers.find_scheduler(args.cluster), Signals()
    starter = scheduler.starter
    assert starter is not None, f"jobs of {args.cluster} have no first process"
    signals.listen()
    job_id, _ = starter.job()
    failed = sum(attempt.outcome == "retried" for attempt in read_attempts(args.logs, job_id))
    while True:
        attempt = _attempt(args, starter, signals, args.retries - failed)
        with open(attempts_file(args.logs, job_id), "a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(attempt)) + "\n")
        if attempt.outcome == "retried":
            failed += 1
            _tell(f"{attempt.why}; starting again from the newest checkpoint (retry {failed} of {args.retries})")
        elif attempt.outcome == "requeued":
            return _leave(scheduler.queue, scheduler.about.title, signals)
        else:
            return attempt.code


def _attempt(args: argparse.Namespace, starter: Starter, signals: Signals, retries: int) -> Attempt:
    job_id, nodes = starter.job()
    exit_codes.remove_exits(args.logs, job_id, args.ranks)
    started = time.time()
    starts = starter.starts(args.logs, job_id, args.ranks, args.cpus, args.starter)
    code = _start_ranks(starts, args.command, signals)
    ended = exit_codes.await_exits(args.logs, job_id, args.ranks, exit_codes.PATIENCE if code else 0)
    outcome = decide(ended, code, signals, retries)
    failed = outcome in ("failed", "retried")
    why = exit_codes.first_failure(ended, job_id, args.ranks, args.logs) if failed else None
    code, sentence = why or (code, "")
    return Attempt(outcome, sentence, code, nodes, started, time.time())


def _leave(queue: Queue | None, title: str, signals: Signals) -> int:
    """Put the job back into the queue, unless there is no queue or the job was cancelled."""
    if signals.ending or queue is None:
        return STOPPED
    if (refused := queue.requeue()) is not None:
        if refused:
            goes_on = "resume goes on from the newest checkpoint"
            _tell(f"{title} does not put the job back into the queue ({refused}); {goes_on}")
        return STOPPED
    _tell(f"stopped as {title} asked, and back in the queue")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(60)  # wait until the scheduler ends this process: exiting here would end the job
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())
