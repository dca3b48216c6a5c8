"""The files that a report is made from, runs' and results: what is read in them, and which are of one evaluation."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from pretrain.config import Config
from pretrain.engine.recipe import recipe
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import options
from transfer import results
from transfer.results import Result
from transfer.tasks import foreign_settings

OUR_KEYS = ("task", "protocol", "metrics", "init")
# `results.load` checks the types of a file's values; within them, those that a report counts on. "*" is any key.
KINDS: dict[Any, str] = {
    dict: "artefacts.by_class.*",
    dict | None: "artefacts.by_class",
    int | float: "counts.*",
    int | float | None: "metrics.* pretraining.epoch settings.iterations settings.images_per_step "
    "artefacts.by_class.*.*",
}
# whose trunk, which seed, where and on what it ran, and what the protocol itself chose by its own search
MAY_DIFFER = {"seed", "skipped", "found", "workers", "threads", "device", "processes", "cache", "timeout_minutes"}
MAY_DIFFER |= {"data", "sets"}  # how deep the classes lie, which the counts tell too; what else was evaluated
MAY_DIFFER |= {"SEED", "OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS", "peak_memory_mb"}


@dataclass(frozen=True)
class PretrainingRun:
    """A folder with metrics.jsonl and config.yaml."""

    folder: Path
    name: str  # shortest path that tells it from the other runs
    config: dict[str, Any]
    lines: tuple[dict[str, Any], ...]  # by rising step; of a step that was written again, each key's newest value
    command: str
    start: dict[str, Any] = field(default_factory=dict)  # what it has started from; empty at random

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
        return recipe(self.config)


def read_run(metrics: Path, name: str, notes: list[str]) -> PretrainingRun | None:
    """The run whose log is `metrics`, None where it cannot be shown; what is damaged becomes a sentence in `notes`."""
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
    config = config if isinstance(config, dict) else {}
    if not _fits(config):
        notes.append(f"{folder}: config.yaml holds values of the wrong type, so this run is not shown.")
        return None
    if not lines:
        notes.append(f"{metrics} holds no step yet: the run is listed without curves.")
    command = folder / "command.txt"
    text = command.read_text(encoding="utf-8", errors="replace").strip() if command.is_file() else ""
    return PretrainingRun(folder, name, config, lines, text, _start(folder, notes))


def _start(folder: Path, notes: list[str]) -> dict[str, Any]:
    """What init.json says; empty where there is none, and told of where it cannot be read."""
    path = folder / "init.json"
    try:
        read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        whole = not read or isinstance(read.get("took"), list) and all(read.get(key) for key in ("file", "sha256"))
    except (OSError, ValueError, RecursionError, AttributeError):
        whole = False
    if not whole:
        notes.append(f"{path} cannot be read, so what the run has started from is not told.")
    return read if whole else {}


def _fits(config: dict[str, Any]) -> bool:
    """Whether sections are mappings and the options that are known have values of their types; others may be there."""
    try:
        json.dumps(config, sort_keys=True, default=str)  # as `recipe` does: no cycles, no keys that are no texts
    except (TypeError, ValueError, RecursionError):
        return False
    for known in options(Config):
        *sections, name = known.name.split(".")
        at: Any = config
        for section in sections:
            at = at.get(section, {})
            if not isinstance(at, dict):
                return False
        value = at.get(name)
        if not (value is None or _is_of(value, set(re.findall(r"\w+", known.type)))):
            return False
    return True


def _is_of(value: Any, kinds: set[str]) -> bool:
    """Whether a value may be that of an option in whose type these words stand, such as list, float and Literal."""
    if isinstance(value, list):
        return "list" in kinds and all(_is_of(one, kinds - {"list"}) for one in value)
    if isinstance(value, str):
        return bool(kinds & {"str", "Literal"})
    return bool(kinds & {"int", "float", "bool"}) and finite(value)


def finite(value: Any) -> TypeGuard[float]:
    """Whether a metric is a number that can be averaged or drawn."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max  # a whole number may be larger


def _is_value(value: Any) -> bool:
    """Whether a line of metrics may hold it: a number, finite or not, that a curve can be drawn through."""
    return isinstance(value, float) or finite(value)


def _lines(path: Path) -> tuple[tuple[dict[str, Any], ...], int]:
    """(one dict a step by rising step, number of lines that are no JSON objects of numbers with a step)."""
    steps: dict[int, dict[str, Any]] = {}
    damaged = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            step = int(line["step"])
            if not all(value is None or _is_value(value) for value in line.values()):
                raise ValueError
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            damaged += bool(text.strip())
            continue
        newer = {key: value for key, value in line.items() if value is not None}
        steps[step] = steps.get(step, {}) | newer | {"step": step}
    return tuple(steps[step] for step in sorted(steps)), damaged


@dataclass(frozen=True)
class Downstream:
    """One result file. superseded: a newer file holds the same evaluation of the same checkpoint and seed."""

    path: Path
    result: Result
    superseded: bool = False


def is_ours(content: bytes) -> bool:
    """Whether a JSON file, even a damaged one, carries the marks of a result file."""
    try:
        written = json.loads(content)
    except (ValueError, RecursionError):
        return sum(f'"{key}"'.encode() in content for key in OUR_KEYS) >= 2
    return isinstance(written, dict) and sum(key in written for key in OUR_KEYS) >= 3


def read_result(path: Path) -> Downstream:
    """A result file, whose values have the types that a report counts on.

    Raises:
        UserError: it is no result file of this version, or holds values of other types.
    """
    result = results.load(path)
    tree = asdict(result)
    for kind, places in KINDS.items():
        if not all(isinstance(value, kind) for place in places.split() for value in _at(tree, place)):
            raise UserError(f"{path} holds values of the wrong type: run that evaluation again.")
    if kept := result.artefacts.get("per_image"):
        result.artefacts["per_image"] = str(path.parent / str(kept))  # so that it is found from anywhere
    return Downstream(path, result)


def _at(tree: Any, place: str) -> Iterator[Any]:
    """The values at "key.key" of nested tables, None for a key that is not there."""
    key, _, below = place.partition(".")
    for value in (tree.values() if key == "*" else [tree.get(key)]) if isinstance(tree, dict) else []:
        yield from _at(value, below) if below else [value]


def mark_superseded(files: Sequence[Downstream]) -> list[Downstream]:
    """Mark all but the newest of several files about the same checkpoint, evaluation and seed."""

    def trial(entry: Downstream) -> tuple[object, ...]:
        return evaluation(entry.result), entry.result.init, entry.result.seed, entry.result.checkpoint_sha256

    newest = {trial(entry): entry for entry in sorted(files, key=lambda entry: entry.result.date)}
    return [replace(entry, superseded=newest[trial(entry)] is not entry) for entry in files]


def evaluation(result: Result) -> tuple[object, ...]:
    """What all trials of one evaluation share: task, data set, protocol, network and its settings."""
    settings = tuple(sorted(_decisive(result, "settings").items()))
    return result.task, result.dataset, result.protocol, result.arch, settings


def differing(trials: Sequence[Result], what: str) -> list[str]:
    """Names of the `counts` or `settings` that should be the same in all `trials` and are not."""
    tables = [_decisive(result, what) for result in trials]
    names = sorted({name for table in tables for name in table})
    return [name for name in names if len({table.get(name) for table in tables}) > 1]


def _decisive(result: Result, what: str) -> dict[str, str]:
    """The `counts` or `settings` of a result, without what may differ.

    Options of other evaluators, which earlier files hold too, are left out. Of a whole configuration in one text
    (detectron2's), every option is a setting.
    """
    table: dict[str, Any] = {}
    for name, value in getattr(result, what).items():
        table |= _options(value) if isinstance(value, str) and "\n" in value else {name: value}
    left_out = MAY_DIFFER | (foreign_settings(result.task) if what == "settings" else set())
    return {name: repr(value) for name, value in table.items() if name not in left_out}


@cache
def _options(text: str) -> dict[str, Any]:
    try:
        return flat({"": yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))})
    except yaml.YAMLError:
        return {"": text}


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"section.key": value} of all leaves."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}.{key}".strip(".")
        leaves |= flat(value, name) if isinstance(value, dict) else {name: value}
    return leaves
