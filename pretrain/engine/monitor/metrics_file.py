"""The lines of a run's metrics.jsonl, and how far it is by the last one; without torch, for tools that only look."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pretrain.runtime.files import write_text

FILE = "metrics.jsonl"
TAIL = 64 * 1024  # bytes at the end of the file that hold many lines


def last_line(run_dir: Path) -> dict[str, float] | None:
    """The newest whole line of RUN/metrics.jsonl; None where there is none (yet). One cut short is passed over."""
    path = run_dir / FILE
    if not path.is_file():
        return None
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL))
        texts = handle.read().splitlines()
    return next((line for text in reversed(texts) if (line := _line(text)) is not None), None)


def read_lines(run_dir: Path) -> list[dict[str, float]]:
    """Every whole line of RUN/metrics.jsonl, the oldest first; empty where there is none (yet)."""
    path = run_dir / "metrics.jsonl"
    texts = path.read_bytes().splitlines() if path.is_file() else []
    return [line for text in texts if (line := _line(text)) is not None]


def _line(text: bytes) -> dict[str, float] | None:
    """One line that is whole."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "step" in line else None


def seconds_left(line: Mapping[str, float]) -> float:
    """From a line of metrics.jsonl to the end of the run, at the speed of that line."""
    return (line["steps"] - line["step"]) * line["batch_size"] / line["images_per_second"]


def lines_of(path: Path) -> Iterator[dict[str, float]]:
    """Every line but those that are incomplete or damaged; none where there is no file."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as handle:
        for text in handle:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), (int, float)):
                yield line


def forget_after(path: Path, step: int) -> None:
    """Delete the lines that a resumed run will write again, and those that are incomplete or damaged."""
    if path.is_file():
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines_of(path) if line["step"] <= step))
