"""One downstream number, one JSON file: the schema that every evaluation writes and the report reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pretrain.runtime import provenance
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from transfer.tasks import tasks

TASKS = tuple(tasks())
INITS = ("pretrained", "random")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class Result:
    """What one evaluation of one trunk measured, and everything needed to judge or repeat it.

    task: one of TASKS. protocol: human name with its key settings; numbers of two protocols never share a column.
    metrics: name to percent (accuracies and AP alike, 0..100), or to the unit that the evaluator says. counts: train,
    val, classes, skipped, ...
    init: "random" for a trunk at step 0, else "pretrained". pretraining: the trunk's own meta data.
    commit, date, hardware: of this code, now and here unless given. seconds: of the whole evaluation.
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
    commit: str | None = field(default_factory=provenance.commit)
    date: str = field(default_factory=now)
    hardware: str = field(default_factory=provenance.hardware)
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, Any] = field(default_factory=lambda: {"images": []})

    def __post_init__(self) -> None:
        assert self.task in TASKS, self.task
        assert self.init in INITS, self.init


def save(path: str | Path, result: Result) -> Path:
    """Write `result` as JSON, atomically: a reader sees a whole file or none.

    Raises:
        UserError: it cannot be written, as on a full disk; the numbers are then in the sentence.
    """
    try:
        return write_json(Path(path), asdict(result))
    except OSError as error:
        metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
        raise UserError(f"{path} cannot be written ({error.strerror}): make room for it; it says {metrics}.") from error


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
