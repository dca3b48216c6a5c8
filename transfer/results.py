"""One downstream number, one JSON file: the schema that every evaluation writes and the report reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pretrain.runtime import provenance
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import printable, shortened
from pretrain.weights.hub import moved
from pretrain.weights.hub.names import is_hub
from transfer.tasks import tasks

TASKS = tuple(tasks())
INITS = ("pretrained", "random", "starting")
UNWRITABLE = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs: bytes of names that are not UTF-8
KINDS: dict[str, Any] = {  # how the type of a field begins, and what JSON has for it; the longer one first
    "str | None": (str, type(None)),
    "str": str,
    "dict": dict,
    "int": int,
    "float": (int, float),
}
# what earlier code wrote in a protocol, and what it is now: both are one protocol; [ ] for a test forbids these words
REWORDED = {
    re.compile(r", at most (\d+) val images for the dear[ ]ones"): r", those that take long of at most \1 images of val"
}
FILES = "artefacts"  # the key of the names of pictures
MOST_KEYS = 5  # unknown ones that a message names


def init_of(meta: Mapping[str, Any]) -> str:
    """One of INITS for a trunk's meta data: at step 0 "random", or "starting" where the run began from weights."""
    if meta.get("step") != 0:
        return "pretrained"
    return "starting" if meta.get("init_sha256") else "random"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class Result:
    """What one evaluation of one trunk measured, and everything needed to judge or repeat it.

    task: one of TASKS. protocol: human name with its key settings; numbers of two protocols never share a column.
    metrics: name to percent (accuracies and AP alike, 0..100), or to the unit that the evaluator says. counts: train,
    val, classes, skipped, ...
    init: what `init_of` says of the trunk. pretraining: the trunk's own meta data.
    commit, date, hardware: of this code, now and here unless given. seconds: of the whole evaluation.
    artefacts: {"images": [paths of PNGs relative to the JSON file], "per_image": that of outcomes (per_image.py)}.
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
        return write_json(Path(path), _printable(asdict(result)))
    except OSError as error:
        metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
        raise UserError(f"{path} cannot be written ({error.strerror}): make room for it; it says {metrics}.") from error


def check_same(path: Path, typed: Path, checkpoint: Path) -> None:
    """Refuse to write over a result of what a name on the hub meant, where it means other weights now.

    Args: path, of the result; typed, the checkpoint as the user named it; checkpoint, its file.

    Raises:
        UserError: naming both revisions.
    """
    if not (is_hub(typed) and path.is_file()):
        return
    try:
        earlier = load(path)
    except UserError:  # of another version, or no result: nothing that could be told apart
        return
    moved.check_same(typed, checkpoint, earlier.checkpoint, earlier.checkpoint_sha256, path)


def load(path: str | Path) -> Result:
    """Read what `save` wrote.

    Raises:
        UserError: not JSON, a key of the schema is missing, unknown, of another type or out of its values, or a picture
            or a file of outcomes is named that does not lie below the file's own folder.
    """
    path = Path(path)
    written = read_json(path, "a result file")
    names = {entry.name for entry in fields(Result)}
    if not isinstance(written, dict) or set(written) != names:
        keys = set(written) if isinstance(written, dict) else set()
        unknown = [shortened(key) for key in sorted(keys - names)[:MOST_KEYS]]
        raise UserError(
            f"{path} is not a result file of this version: missing keys {sorted(names - keys)}, unknown keys {unknown}."
        )
    for entry in fields(Result):
        kinds = next(kinds for start, kinds in KINDS.items() if str(entry.type).startswith(start))
        if not isinstance(written[entry.name], kinds) or isinstance(written[entry.name], bool):
            raise UserError(f"{path}: {entry.name} is not of the type {entry.type}: run that evaluation again.")
    if written["task"] not in TASKS or written["init"] not in INITS:
        task, init = shortened(written["task"]), shortened(written["init"])
        raise UserError(f"{path}: task '{task}' or init '{init}' is not of {TASKS}, {INITS}.")
    pictures = written["artefacts"].get("images") or []
    named = pictures if isinstance(pictures, list) else [pictures]
    for name in [*named, *([outcomes] if (outcomes := written["artefacts"].get("per_image")) else [])]:
        path_inside(path.parent, name, path, links=True)
    for former, words in REWORDED.items():
        written["protocol"] = former.sub(words, written["protocol"])
    return Result(**_printable(written))


def _printable(value: Any) -> Any:
    """The same with names that are not UTF-8 escaped, for no page could hold them; those of files stay as they are."""
    if isinstance(value, str):
        return UNWRITABLE.sub(lambda found: printable(found[0]), value)
    if isinstance(value, dict):
        return {_printable(key): one if key == FILES else _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, (list, tuple)) else value
