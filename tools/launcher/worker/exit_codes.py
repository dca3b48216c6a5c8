"""How the ranks of a job ended: a file for each, written on its node, and one sentence about the first that failed."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pretrain.runtime.errors import LOST, STOPPED
from pretrain.runtime.files import write_json
from tools.launcher.worker.logs import last_words, log_file

PATIENCE = 10.0  # seconds after the end of a job until a shared folder shows its last files


@dataclass(frozen=True)
class Exit:
    """How the command of one rank ended. code: 0 to 255 as a shell tells it (128 + number for a signal)."""

    rank: int
    host: str
    code: int
    time: float


def _exit_file(logs: Path, job_id: str, rank: int) -> Path:
    return logs / f"{job_id}_{rank}_exit.json"


def write_exit(logs: Path, job_id: str, ended: Exit) -> None:
    """Note the end of one rank."""
    write_json(_exit_file(logs, job_id, ended.rank), asdict(ended))


def remove_exits(logs: Path, job_id: str, ranks: int) -> None:
    """Before a job starts again: remove what its ranks wrote at their last end."""
    for rank in range(ranks):
        _exit_file(logs, job_id, rank).unlink(missing_ok=True)


def read_exits(logs: Path, job_id: str, ranks: int) -> dict[int, Exit]:
    """How the ranks ended, by rank; without those that have not written it."""
    paths = [_exit_file(logs, job_id, rank) for rank in range(ranks)]
    return {rank: Exit(**json.loads(path.read_text())) for rank, path in enumerate(paths) if path.is_file()}


def await_exits(logs: Path, job_id: str, ranks: int, patience: float) -> dict[int, Exit]:
    """`read_exits` of a job that is over.

    Args:
        logs: the job's folder of logs.
        job_id: of the job.
        ranks: how many it has.
        patience: seconds to wait at most for ranks that have not written their end yet.
    """
    deadline = time.monotonic() + patience
    while len(exits := read_exits(logs, job_id, ranks)) < ranks and time.monotonic() < deadline:
        time.sleep(0.5)
    return exits


def stopped_on_request(exits: dict[int, Exit]) -> bool:
    """Whether the ranks left on request with what they need to go on, rather than at the end or by a failure."""
    codes = {ended.code for ended in exits.values()}
    return STOPPED in codes and codes <= {0, STOPPED, 128 + signal.SIGTERM}


def first_of(exits: dict[int, Exit]) -> Exit | None:
    """The failure that came first; one that only tells of another rank's comes last, whenever it was written."""
    failed = (ended for ended in exits.values() if ended.code)
    return min(failed, key=lambda ended: (ended.code == LOST, ended.time), default=None)


def first_failure(exits: dict[int, Exit], job_id: str, ranks: int, logs: Path) -> tuple[int, str] | None:
    """Exit code and one sentence about the rank that failed first, or None where every rank ended well.

    Args:
        exits: of the ranks that have written their end.
        job_id: of the job.
        ranks: how many it has.
        logs: the job's folder of logs.
    """
    first = first_of(exits)
    silent = [rank for rank in range(ranks) if rank not in exits]
    if first is None and not silent:
        return None
    if first is None or (silent and first.code == LOST):  # all that is known of it is that the others lost it
        rank, code, host, what = silent[0], 1, "", "ended without telling its exit code"
    else:
        rank, code, host = first.rank, first.code, f" on {first.host}"
        what = f"ended with exit code {code}{_signal_name(code)}"
    log = log_file(logs, job_id, rank)
    said = last_words(log)
    quote = f", last words: {said}" if said else ""
    return code, f"rank {rank} of {ranks}{host} {what}; its log: {log}{quote}"


def _signal_name(code: int) -> str:
    number = code - 128
    return f" ({signal.Signals(number).name})" if number in signal.valid_signals() else ""
