"""Pretraining runs: the configuration of a run folder, and what the run logged."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml


@dataclass(frozen=True)
class PretrainingRun:
    """A folder with metrics.jsonl and config.yaml.

    name: shortest path that tells it from the other runs. lines: one dict a step, by rising step; of a step that a
    resumed run wrote again, the newest value of every key.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    lines: tuple[dict[str, Any], ...]
    command: str

    def setting(self, dotted: str, default: Any = None) -> Any:
        """The value at "section.key" of the configuration, or `default`."""
        value: Any = self.config
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return default if value is None else value

    def last(self, key: str) -> Any:
        """The newest value of a metric, None where it was never written."""
        return next((line[key] for line in reversed(self.lines) if key in line), None)

    def images_seen(self) -> int | None:
        """Of all steps; in lines of earlier code steps done times the global batch size, None where that is unknown."""
        if isinstance(seen := self.last("images"), int):
            return seen
        batch = self.setting("optim.batch_size")
        return self.lines[-1]["step"] * batch if self.lines and isinstance(batch, int) else None

    def recipe(self) -> str:
        """The configuration without what may differ between repetitions (seed, folder, logging), as one string."""
        kept = {key: value for key, value in self.config.items() if key not in ("run", "run_dir")}
        kept |= {"data": self.setting("data.root"), "precision": self.setting("run.precision")}
        # earlier code also wrote the options of all other rows, as null
        kept["method"] = {key: value for key, value in self.setting("method", {}).items() if value is not None}
        return json.dumps(kept, sort_keys=True, default=str)


def read_run(metrics: Path, name: str, notes: list[str]) -> PretrainingRun | None:
    """The run whose log is the file `metrics`, called `name`; None where the folder holds no run that can be shown.

    What is damaged becomes a sentence in `notes`.
    """
    folder, (lines, damaged) = metrics.parent, _lines(metrics)
    if damaged:
        notes.append(f"{metrics}: {damaged} line(s) are damaged or cut short and were left out.")
    try:
        config: Any = yaml.safe_load((folder / "config.yaml").read_bytes())
    except Exception as error:  # a missing file or the YAML parser's many types: each means the same to the reader
        if lines:
            reason = " ".join(str(error).split())
            notes.append(f"{folder}: config.yaml cannot be read, so this run is not shown ({reason}).")
        return None
    if not lines:
        notes.append(f"{metrics} holds no step yet: the run is listed without curves.")
    command = folder / "command.txt"
    text = command.read_text(encoding="utf-8", errors="replace").strip() if command.is_file() else ""
    return PretrainingRun(folder, name, config if isinstance(config, dict) else {}, lines, text)


def finite(value: Any) -> TypeGuard[float]:
    """Whether a metric is a number that can be averaged or drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def _lines(path: Path) -> tuple[tuple[dict[str, Any], ...], int]:
    """(one dict a step by rising step, number of lines that are not JSON objects with a step)."""
    steps: dict[int, dict[str, Any]] = {}
    damaged = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            step = int(line["step"])
        except (ValueError, TypeError, KeyError, OverflowError):
            damaged += bool(text.strip())
            continue
        newer = {key: value for key, value in line.items() if value is not None}
        steps[step] = steps.get(step, {}) | newer | {"step": step}
    return tuple(steps[step] for step in sorted(steps)), damaged
