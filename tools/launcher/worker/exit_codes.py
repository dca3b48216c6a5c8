"""How the ranks of a job ended: a file for each, written on its node, and one sentence about the first that failed."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pretrain.runtime.errors import STOPPED
from pretrain.runtime.files import write_json
from tools.launcher.worker import logs as joblogs

PATIENCE = 10.0  # seconds after the end of a job until a shared folder shows its last files


@dataclass(frozen=True)
class Exit:
    """How the command of one rank ended. code: 0 to 255 as a shell tells it (128 + number for a signal)."""

    rank: int
    host: str
    code: int
    time: float


def _file(logs: Path, job_id: str, rank: int) -> Path:
    return logs / f"{job_id}_{rank}_exit.json"


def write(logs: Path, job_id: str, ended: Exit) -> None:
    """Note the end of one rank."""
    write_json(_file(logs, job_id, ended.rank), asdict(ended))


def forget(logs: Path, job_id: str, ranks: int) -> None:
    """Before a job starts again: how its ranks ended before."""
    for rank in range(ranks):
        _file(logs, job_id, rank).unlink(missing_ok=True)


def read(logs: Path, job_id: str, ranks: int) -> dict[int, Exit]:
    """How each rank that told it ended."""
    paths = [_file(logs, job_id, rank) for rank in range(ranks)]
    return {rank: Exit(**json.loads(path.read_text())) for rank, path in enumerate(paths) if path.is_file()}


def settled(logs: Path, job_id: str, ranks: int, patience: float) -> dict[int, Exit]:
    """The same of a job that is over; waits `patience` seconds at most for those that have not told yet."""
    deadline = time.monotonic() + patience
    while len(exits := read(logs, job_id, ranks)) < ranks and time.monotonic() < deadline:
        time.sleep(0.5)
    return exits


def stopped(exits: dict[int, Exit]) -> bool:
    """Whether the ranks left on request with what they need to go on, rather than at the end or by a failure."""
    codes = {ended.code for ended in exits.values()}
    return STOPPED in codes and codes <= {0, STOPPED, 128 + signal.SIGTERM}


def failure(exits: dict[int, Exit], job_id: str, ranks: int, logs: Path) -> tuple[int, str] | None:
    """Exit code and one sentence about the rank that failed first, or None where every rank ended well."""
    bad = sorted((ended for ended in exits.values() if ended.code), key=lambda ended: ended.time)
    silent = [rank for rank in range(ranks) if rank not in exits]
    if not bad and not silent:
        return None
    rank, code = (bad[0].rank, bad[0].code) if bad else (silent[0], 1)
    host = f" on {bad[0].host}" if bad else ""
    what = f"ended with exit code {code}{_signal_name(code)}" if bad else "ended without telling its exit code"
    log = joblogs.file(logs, job_id, rank)
    said = [line for line in joblogs.last_lines(log, 20) if not line.startswith(joblogs.REMARKS)]
    quote = f", last words: {said[-1].strip()}" if said else ""
    return code, f"rank {rank} of {ranks}{host} {what}; its log: {log}{quote}"


def _signal_name(code: int) -> str:
    number = code - 128
    return f" ({signal.Signals(number).name})" if number in signal.valid_signals() else ""
