"""How far a run is, as the last line of its metrics.jsonl tells; without torch, for tools that only look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

TAIL = 64 * 1024  # bytes at the end of the file that hold many lines


def last_line(run_dir: Path) -> dict[str, float] | None:
    """The newest whole line of RUN/metrics.jsonl; None where there is none (yet). One cut short is passed over."""
    path = run_dir / "metrics.jsonl"
    if not path.is_file():
        return None
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL))
        texts = handle.read().splitlines()
    for text in reversed(texts):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "step" in line:
            return line
    return None


def seconds_left(line: Mapping[str, float]) -> float:
    """From a line of metrics.jsonl to the end of the run, at the speed of that line."""
    return (line["steps"] - line["step"]) * line["batch_size"] / line["images_per_second"]
