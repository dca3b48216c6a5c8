"""What the ranks of a job print: one file each, shown and followed without the remarks of those who started them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

REMARKS = ("submitit ", "srun:", "slurmstepd:", "launch.py:")  # lines that are not the tool's own


def file(logs: Path, job_id: str, rank: int | str) -> Path:
    """Where submitit puts the output of one rank."""
    return logs / f"{job_id}_{rank}_log.out"


def follow(path: Path) -> Iterator[None]:
    """Each `next` prints the lines that were written to `path` since the last; it need not be there yet."""
    position = 0
    while True:
        if path.is_file():
            with open(path, "rb") as handle:
                handle.seek(position)
                new = handle.read()
            whole = new.rpartition(b"\n")[0]
            if whole:
                position += len(whole) + 1
                show(whole)
        yield


def show(text: bytes) -> None:
    """Print a part of a log without submitit's own remarks."""
    said = [line for line in text.decode(errors="replace").split("\n") if not line.startswith("submitit ")]
    print(*said, sep="\n", end="\n" if said else "", flush=True)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log that are not empty."""
    if not path.is_file():
        return []
    lines = path.read_text(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]
