"""One downstream number, one JSON file: the schema that every evaluation writes and the report reads."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pretrain.errors import UserError
from pretrain.files import write_json

TASKS = ("knn", "linear", "semi", "detection", "segmentation")
INITS = ("pretrained", "random")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class Result:
    """What one evaluation of one trunk measured, and everything needed to judge or repeat it.

    task: one of TASKS. protocol: human name with its key settings; numbers of two protocols never share a column.
    metrics: name to percent (accuracies and AP alike, 0..100). counts: train, val, classes, skipped, ...
    init: "random" for a trunk at step 0, else "pretrained". pretraining: the trunk's own meta data.
    commit: git SHA of this code, None outside a clone. seconds: of the whole evaluation.
    artefacts: {"images": [paths of PNGs relative to the JSON file]}.
    """

    task: str
    protocol: str
    dataset: str
    metrics: dict[str, float]
    counts: dict[str, int]
    seed: int
    init: str
    arch: str
    checkpoint: str
    checkpoint_sha256: str
    pretraining: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    date: str = field(default_factory=now)
    hardware: str = ""
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, Any] = field(default_factory=lambda: {"images": []})

    def __post_init__(self) -> None:
        assert self.task in TASKS, self.task
        assert self.init in INITS, self.init


def save(path: str | Path, result: Result) -> Path:
    """Write `result` as JSON, atomically: a reader sees a whole file or none."""
    return write_json(Path(path), asdict(result))


def load(path: str | Path) -> Result:
    """Read what `save` wrote.

    Raises:
        UserError: not JSON, or a key of the schema is missing, unknown or out of its values.
    """
    path = Path(path)
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a result file ({error}): run that evaluation again.") from error
    names = {entry.name for entry in fields(Result)}
    if not isinstance(written, dict) or set(written) != names:
        keys = set(written) if isinstance(written, dict) else set()
        raise UserError(
            f"{path} is not a result file of this version: missing keys {sorted(names - keys)}, "
            f"unknown keys {sorted(keys - names)}."
        )
    if written["task"] not in TASKS or written["init"] not in INITS:
        raise UserError(f"{path}: task '{written['task']}' or init '{written['init']}' is not of {TASKS}, {INITS}.")
    return Result(**written)


def commit_of_code() -> str | None:
    """Git SHA of the clone this file is tracked in ("-dirty" when tracked files differ), None for an installed copy."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
        except OSError:  # no git on this machine: the provenance is then simply unknown
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    sha = git("rev-parse", "HEAD")
    return f"{sha}-dirty" if sha and git("status", "--porcelain", "--untracked-files=no") else sha


def hardware() -> str:
    """Processor, cores this process may use, and GPUs, such as "Intel Xeon, 2 cores; 1 x NVIDIA H200"."""
    import torch

    described = f"{_processor()}, {_cores()} cores"
    if torch.cuda.is_available():
        described += f"; {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return described


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
