"""What the ranks of a job print: one file each, shown and followed without the remarks of those who started them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.launcher import schedulers

OURS = ("submitit ", "launch.py:")  # how lines begin that neither the tool nor a scheduler wrote


def log_file(logs: Path, job_id: str, rank: int | str) -> Path:
    """Where the output of one rank lies; submitit's choice, which every scheduler follows."""
    return logs / f"{job_id}_{rank}_log.out"


def follow_log(path: Path) -> Iterator[None]:
    """Each `next` prints the lines that were written to `path` since the last; it need not be there yet."""
    position = 0
    while True:
        if path.is_file():
            with open(path, "rb") as handle:
                handle.seek(position)
                new = handle.read()
            whole_lines = new.rpartition(b"\n")[0]
            if whole_lines:
                position += len(whole_lines) + 1
                show_log(whole_lines)
        yield


def show_log(text: bytes) -> None:
    """Print a part of a log without submitit's own remarks."""
    said = [line for line in text.decode(errors="replace").split("\n") if not line.startswith("submitit ")]
    print(*said, sep="\n", end="\n" if said else "", flush=True)


def last_lines(log: Path, count: int) -> list[str]:
    """The last non-empty lines of a log, which may be long or absent.

    Of a line that a progress bar wrote over, the newest text counts.
    """
    if not log.is_file():
        return []
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - 20_000))
        text = handle.read().decode(errors="replace")
    return [line.rsplit("\r", 1)[-1] for line in text.splitlines() if line.strip()][-count:]


def last_words(log: Path) -> str:
    """The last line that the tool itself printed; empty where there is none."""
    remarks = (*OURS, *schedulers.remarks())
    said = [line for line in last_lines(log, 20) if not line.startswith(remarks)]
    return said[-1].strip() if said else ""


def last_sentence(log: Path) -> str:
    """What a log says of its command's failure: its last error, or its last line where it names none."""
    lines = last_lines(log, 20)
    told = next((line for line in reversed(lines) if "error: " in line), None)
    if told:
        return told.rsplit("error: ", 1)[-1].strip()
    return f"ended after '{lines[-1].strip()}' (see {log})" if lines else f"ended without a word (see {log})"
