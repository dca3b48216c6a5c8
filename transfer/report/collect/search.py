"""What lies below the given folders: pretraining runs, downstream results, and what could not be read of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.runtime.errors import UserError
from transfer.report.collect.bootstrap import kept
from transfer.report.collect.files import Downstream, PretrainingRun, is_ours, mark_superseded, read_result, read_run
from transfer.report.collect.names import images_name
from transfer.report.collect.sweeps import FILE as SWEEP
from transfer.report.collect.sweeps import Sweep, read_sweep

MOST_BYTES = 4_000_000  # result files are a few kB; annotations and predictions in JSON are not worth parsing
STAMPED = 3  # a set's README stands at its top; images lie up to this many folders below, such as in classes/train


@dataclass
class Collected:
    """Everything a report is made from."""

    runs: list[PretrainingRun] = field(default_factory=list)
    results: list[Downstream] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # sentences about files that are ours and could not be used
    paper: bool = False  # whether every table of the paper is asked for

    def synthetic_sets(self) -> list[str]:
        """Names of data sets that are synthetic by their name, or as the files in them say."""
        sets = {entry.result.dataset for entry in self.results}
        roots = {str(run.setting("data.root", "")) for run in self.runs}
        roots |= {str(entry.result.pretraining.get("data") or "") for entry in self.results}
        named = {name for name in sets if name.lower().startswith("synthetic")}
        return sorted(named | {images_name(root) for root in roots if root and says_synthetic(Path(root))})


def search_folders(folders: Sequence[str | Path]) -> Collected:
    """Look through `folders` (hidden ones below them excepted) for runs, results and sweeps, each file once.

    Raises:
        UserError: a folder does not exist, or nothing of ours lies below any of them.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder} is not a folder: give folders that hold pretraining runs or result files.")
    data, logs, copies = Collected(), list[Path](), dict[bytes, Path]()
    for path in _files(folders):
        if path.name == "metrics.jsonl":
            logs.append(path)
        elif path.name == SWEEP:
            _add_sweep(path, data)
        elif path.suffix == ".json" and path.stat().st_size <= MOST_BYTES:
            _add_result(path, data, copies)
    common = os.path.commonpath([log.parent for log in logs] or [Path()])
    for log in logs:
        name = os.path.relpath(log.parent, common)
        if run := read_run(log, log.parent.name if name == "." else name, data.notes):
            data.runs.append(run)
    data.results = mark_superseded(data.results)
    if not data.runs and not data.results and not data.sweeps:
        raise UserError(
            f"no pretraining run (metrics.jsonl beside config.yaml) and no result file below "
            f"{', '.join(map(str, folders))}: pretrain with tools/pretrain.py or evaluate with tools/evaluate.py "
            f"first. {' '.join(data.notes)}".strip()
        )
    return data


def _files(folders: Sequence[str | Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in folders:
        for directory, below, names in os.walk(Path(folder).resolve()):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for path in (Path(directory, name) for name in sorted(names) if name.endswith((".json", ".jsonl"))):
                if path.is_file() and path.resolve() not in seen:
                    seen.add(path.resolve())
                    yield path


def _add_result(path: Path, data: Collected, copies: dict[bytes, Path]) -> None:
    """Add a result file; one that is ours and cannot be used is a note. copies: every file by its content's hash."""
    try:
        content = path.read_bytes()
        if not is_ours(content):
            return
        first = copies.get(hashlib.sha256(content).digest())
        if first:
            raise UserError(f"{path} is a copy of {first} and is counted once.")
        data.results.append(read := read_result(path))
        _check_outcomes(read, data.notes)
        copies[hashlib.sha256(content).digest()] = path
    except OSError as error:
        data.notes.append(f"{path} could not be opened ({error.strerror}).")
    except UserError as error:
        data.notes.append(str(error))


def _add_sweep(path: Path, data: Collected) -> None:
    """Add a sweep; one that is damaged is a note."""
    try:
        data.sweeps.append(read_sweep(path))
    except UserError as error:
        data.notes.append(str(error))


def _check_outcomes(read: Downstream, notes: list[str]) -> None:
    """Leave out outcomes of images that cannot be read, which is noted."""
    path = read.result.artefacts.get("per_image")
    try:
        if path:
            kept(path)
    except UserError as error:
        notes.append(str(error))
        del read.result.artefacts["per_image"]


def says_synthetic(folder: Path) -> bool:
    """Whether this folder of images, or one of the few above it, is named or labelled as made by a program."""
    folder = folder.resolve()
    for place in [folder, *folder.parents][:STAMPED]:
        if place.name.lower().startswith("synthetic") or (place / "synthetic.json").is_file():
            return True
        for readme in place.glob("README*") if place.is_dir() else ():
            text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
            if text.lstrip("# \n").lower().startswith("synthetic"):
                return True
    return False
