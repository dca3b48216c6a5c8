"""The first process of a SLURM job: starts the ranks, and starts them again where that can help.

What is known by now about how the ranks ended decides:
- all well: the job is completed;
- bad input (exit code 2): it would be bad again, so the job fails;
- stopped as they were asked to (exit code 75; SLURM warned of the time limit or of pre-emption): the job goes back into
  the queue, from which it goes on;
- anything else (a crash, a rank that was killed): the ranks are started again at once on the same nodes, at most
  --retries times. They go on from the newest checkpoint, and no queue has to be waited for.
Nodes that are lost, and `scontrol requeue`, are SLURM's own affair: it ends this process and starts the job again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from pretrain.runtime.errors import BAD_INPUT, STOPPED
from tools.launcher import scheduler
from tools.launcher.worker import exit_codes

REMIND = 5.0  # seconds after which ranks that were still starting are told of SLURM's warning again


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


def read(logs: Path, job_id: str) -> list[Attempt]:
    """All starts of a job that have ended and told it."""
    path = attempts_file(logs, job_id)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Attempt(**json.loads(line)) for line in lines if line.endswith("}")]


class Signals:
    """What SLURM has said to this process, which it hands on to the ranks through srun."""

    def __init__(self) -> None:
        self.warned = self.ending = False

    def listen(self) -> None:
        """SIGUSR2 is SLURM's warning, SIGTERM the end."""
        signal.signal(signal.SIGUSR2, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.warned |= number == signal.SIGUSR2
        self.ending |= number == signal.SIGTERM


def srun(logs: Path, name: str, cpus: int) -> list[str]:
    """What starts the ranks, before their command."""
    # One dead rank must end the others, which would wait for it in a collective until the time limit; and since SLURM
    # 22.05 srun no longer takes the CPUs of a task from sbatch.
    output = ["--unbuffered", "--open-mode=append", f"--output={logs / name}_%t_log.out"]
    return ["srun", *output, "--kill-on-bad-exit=1", f"--cpus-per-task={cpus}"]


def _start(command: list[str], signals: Signals) -> int:
    """Run srun to its end; its exit code, the highest of the ranks'."""
    process = subprocess.Popen(command)
    told = 0.0
    while True:
        if signals.warned and time.monotonic() > told + REMIND:
            process.send_signal(signal.SIGUSR2)  # srun hands it to every rank
            told = time.monotonic()
        try:
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue


def decide(ended: dict[int, exit_codes.Exit], code: int, signals: Signals, retries: int) -> str:
    """What becomes of the job whose ranks ended so, srun with `code`: an outcome of Attempt."""
    if exit_codes.stopped(ended) or (signals.warned and code):
        return "requeued"
    if code == 0:
        return "completed"
    first = min((end for end in ended.values() if end.code), key=lambda end: end.time, default=None)
    bad_input = first is not None and first.code == BAD_INPUT
    return "failed" if bad_input or signals.ending or retries < 1 else "retried"


def _requeue(job_id: str) -> str:
    """Put the job back into the queue; the reason where SLURM does not."""
    asked = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
    return " ".join((asked.stderr or asked.stdout).split()) if asked.returncode else ""


def _tell(sentence: str) -> None:
    print(f"launch.py: {sentence}", flush=True)


def _name() -> str:
    """As submitit names the job: the array's number and the place in it, or the job's own."""
    array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place}" if array else os.environ["SLURM_JOB_ID"]


def main(argv: list[str] | None = None) -> int:
    """Start the ranks until one of the four ends; the exit code of the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--retries", type=int, required=True)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args(argv)
    signals, name = Signals(), _name()
    signals.listen()
    failed = sum(attempt.outcome == "retried" for attempt in read(args.logs, name))
    while True:
        attempt = _attempt(args, name, signals, args.retries - failed)
        with open(attempts_file(args.logs, name), "a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(attempt)) + "\n")
        if attempt.outcome == "retried":
            failed += 1
            _tell(f"{attempt.why}; starting again from the newest checkpoint (retry {failed} of {args.retries})")
        elif attempt.outcome == "requeued":
            return _leave(signals)
        else:
            return attempt.code


def _attempt(args: argparse.Namespace, name: str, signals: Signals, retries: int) -> Attempt:
    exit_codes.forget(args.logs, name, args.ranks)
    started = time.time()
    code = _start([*srun(args.logs, name, args.cpus), *args.command], signals)
    ended = exit_codes.settled(args.logs, name, args.ranks, exit_codes.PATIENCE if code else 0)
    outcome = decide(ended, code, signals, retries)
    why = exit_codes.failure(ended, name, args.ranks, args.logs) if outcome in ("failed", "retried") else None
    code, sentence = why or (code, "")
    return Attempt(outcome, sentence, code, os.environ.get("SLURM_JOB_NODELIST", ""), started, time.time())


def _leave(signals: Signals) -> int:
    """Back into the queue, unless the job is being ended for good."""
    job_id = os.environ["SLURM_JOB_ID"]
    state = scheduler.state_of(job_id)
    if signals.ending or state not in ("RUNNING", "PREEMPTED", ""):
        return STOPPED
    if refused := _requeue(job_id):
        _tell(f"SLURM does not put the job back into the queue ({refused}); resume goes on from the newest checkpoint")
        return STOPPED
    _tell("stopped as SLURM asked, and back in the queue")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(60)  # until SLURM ends this process; an end of its own would end the job
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())
