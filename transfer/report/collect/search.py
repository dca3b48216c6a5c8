"""What lies below the given folders: pretraining runs, downstream results, and what could not be read of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from omegaconf import OmegaConf

from pretrain.runtime.errors import UserError
from transfer import results
from transfer.report.collect.same_evaluation import evaluation
from transfer.results import Result

MOST_BYTES = 4_000_000  # result files are a few kB; annotations and predictions in JSON are not worth parsing
OUR_KEYS = ("task", "protocol", "metrics", "init")


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
        """Steps done times the global batch size, None where either is unknown."""
        batch = self.setting("optim.batch_size")
        return self.lines[-1]["step"] * batch if self.lines and isinstance(batch, int) else None

    def recipe(self) -> str:
        """The configuration without what may differ between repetitions (seed, folder, logging), as one string."""
        run = self.setting("run", {})
        kept = {key: value for key, value in self.config.items() if key not in ("run", "run_dir", "data")}
        kept["data"], kept["precision"] = self.setting("data.root"), run.get("precision")
        # earlier code also wrote the options of all other rows, as null
        kept["method"] = {key: value for key, value in self.setting("method", {}).items() if value is not None}
        return json.dumps(kept, sort_keys=True, default=str)


@dataclass(frozen=True)
class Downstream:
    """One result file. superseded: a newer file holds the same evaluation of the same checkpoint and seed."""

    path: Path
    result: Result
    superseded: bool = False


@dataclass
class Collected:
    """Everything a report is made from. notes: sentences about files that are ours and could not be used.

    paper: whether every table of the paper is asked for.
    """

    runs: list[PretrainingRun] = field(default_factory=list)
    results: list[Downstream] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    paper: bool = False


def search_folders(folders: Sequence[str | Path]) -> Collected:
    """Look through `folders` (hidden ones below them excepted) for runs and results, each file once.

    Raises:
        UserError: a folder does not exist, or nothing of ours lies below any of them.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder} is not a folder: give folders that hold pretraining runs or result files.")
    data = Collected()
    bytes_seen: dict[str, Path] = {}
    run_files: list[Path] = []
    for path in _files(folders):
        if path.name == "metrics.jsonl":
            run_files.append(path)
        elif path.suffix == ".json" and path.stat().st_size <= MOST_BYTES:
            _add_result(path, data, bytes_seen)
    names = _short_names([path.parent for path in run_files])
    for path, name in zip(run_files, names, strict=True):
        _add_run(path, name, data)
    data.results = _without_repetitions(data.results)
    if not data.runs and not data.results:
        where = ", ".join(map(str, folders))
        reason = f" {' '.join(data.notes)}" if data.notes else ""
        raise UserError(
            f"no pretraining run (metrics.jsonl beside config.yaml) and no result file below {where}: pretrain with "
            f"tools/pretrain.py or evaluate with tools/evaluate.py first.{reason}"
        )
    return data


def _files(folders: Sequence[str | Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in folders:
        for directory, below, names in os.walk(Path(folder).resolve()):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                path = Path(directory, name)
                if name.endswith((".json", ".jsonl")) and path.is_file() and path.resolve() not in seen:
                    seen.add(path.resolve())
                    yield path


def _add_result(path: Path, data: Collected, bytes_seen: dict[str, Path]) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        data.notes.append(f"{path} could not be opened ({error.strerror}).")
        return
    if not _is_ours(content):
        return
    digest = hashlib.sha256(content).hexdigest()
    if digest in bytes_seen:
        data.notes.append(f"{path} is a copy of {bytes_seen[digest]} and is counted once.")
        return
    try:
        result = results.load(path)
        _check_values(path, result)
    except UserError as error:
        data.notes.append(str(error))
        return
    bytes_seen[digest] = path
    data.results.append(Downstream(path, result))


def _is_ours(content: bytes) -> bool:
    """Whether a JSON file, even a damaged one, carries the marks of a result file."""
    try:
        written = json.loads(content)
    except ValueError:
        return sum(f'"{key}"'.encode() in content for key in OUR_KEYS) >= 2
    return isinstance(written, dict) and sum(key in written for key in OUR_KEYS) >= 3


def _check_values(path: Path, result: Result) -> None:
    """`load` checks the keys; a report also counts on these values' types."""
    kinds: dict[Any, tuple[Any, ...]] = {
        str: (result.protocol, result.dataset, result.arch, result.checkpoint, result.checkpoint_sha256, result.date),
        dict: (result.metrics, result.counts, result.pretraining, result.settings, result.artefacts),
        (int, float): (result.seed, result.seconds),
    }
    fitting = all(isinstance(value, kind) for kind, values in kinds.items() for value in values)
    if not fitting or not all(isinstance(value, kind) for kind, values in _inner(result).items() for value in values):
        raise UserError(f"{path} holds values of the wrong type: run that evaluation again.")


def _inner(result: Result) -> dict[Any, list[Any]]:
    """By type the values within a result that are read as such; call it once the outer types are seen to fit."""
    by_class = result.artefacts.get("by_class") or {}
    of_classes = list(by_class.values()) if isinstance(by_class, dict) else [by_class]
    tables = [numbers for numbers in (result.metrics, *of_classes) if isinstance(numbers, dict)]
    numbers = [result.pretraining.get("epoch"), *map(result.settings.get, ("iterations", "images_per_step"))]
    return {
        (int, float): list(result.counts.values()),
        (int, float, type(None)): [*numbers, *(value for table in tables for value in table.values())],
        (str, type(None)): [result.commit, result.hardware],
        dict: of_classes,
    }


def _add_run(path: Path, name: str, data: Collected) -> None:
    folder = path.parent
    lines, damaged = _lines(path)
    if damaged:
        data.notes.append(f"{path}: {damaged} line(s) are damaged or cut short and were left out.")
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    except Exception as error:  # a missing file or the YAML parser's many types: each means the same to the reader
        if lines:
            reason = " ".join(str(error).split())
            data.notes.append(f"{folder}: config.yaml cannot be read, so this run is not shown ({reason}).")
        return
    if not lines:
        data.notes.append(f"{path} holds no step yet: the run is listed without curves.")
    command = folder / "command.txt"
    text = command.read_text(encoding="utf-8", errors="replace").strip() if command.is_file() else ""
    data.runs.append(PretrainingRun(folder, name, config if isinstance(config, dict) else {}, lines, text))


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


def _short_names(folders: Sequence[Path]) -> list[str]:
    if len(folders) < 2:
        return [folder.name for folder in folders]
    common = Path(os.path.commonpath(folders))
    names = [folder.relative_to(common).as_posix() for folder in folders]
    return [common.name if name == "." else name for name in names]


def _without_repetitions(found: Sequence[Downstream]) -> list[Downstream]:
    """Mark all but the newest of several files about the same checkpoint, evaluation and seed."""

    def key(entry: Downstream) -> tuple[object, ...]:
        r = entry.result
        return *evaluation(r), r.init, r.seed, r.checkpoint_sha256

    newest = {key(entry): entry for entry in sorted(found, key=lambda entry: entry.result.date)}
    return [Downstream(entry.path, entry.result, newest[key(entry)] is not entry) for entry in found]


def finite(value: Any) -> TypeGuard[float]:
    """Whether a metric is a number that can be averaged or drawn."""
    return isinstance(value, int | float) and math.isfinite(value)
