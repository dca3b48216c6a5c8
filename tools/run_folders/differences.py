"""What two runs differ in: options, code and packages, numbers."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.engine import history
from pretrain.runtime import provenance
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, sha256_of
from tools.run_folders.overview import Overview
from transfer.report.collect.files import finite, flat

PLACES = ("run_dir",)  # differ between all runs
TIMES = ("time", "step")  # of a line of metrics, told apart from its numbers


def differences(first: Overview, second: Overview) -> dict[str, dict[str, list[Any]]]:
    """{part: {name: [of the first, of the second]}} of all that differs; parts: configuration, code, numbers.

    Raises:
        UserError: one of them is damaged.
    """
    configs = []
    for one in (first, second):
        if one.run is None:
            raise UserError(f"{one.folder} cannot be compared, since it is {one.state}: {one.why}")
        configs.append({name: value for name, value in flat(one.run.config).items() if name not in PLACES})
    return {
        "configuration": _apart(*configs),
        "code": _apart(_code(first.folder), _code(second.folder)) | _files(first.folder, second.folder),
        "numbers": _apart(_numbers(first), _numbers(second)),
    }


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys((*first, *second))
    return {name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)}


def snapshot_of(folder: Path) -> Path | None:
    """The newest copy of the code that the launcher put into a run folder."""
    copies = [path for path in (folder / "code").glob("*") if (path / provenance.SNAPSHOT).is_file()]
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)


def _code(folder: Path) -> dict[str, Any]:
    """Commit and versions, where they are known."""
    starts = history.read_history(folder)
    told: dict[str, Any] = {"commit": starts[-1].get("commit") if starts else None}
    if copy := snapshot_of(folder):
        try:
            written = read_json(copy / provenance.SNAPSHOT, "a snapshot's list")
            told |= {f"package {name}": version for name, version in written["packages"].items()}
        except (UserError, KeyError, TypeError, AttributeError):
            told["packages"] = f"{copy / provenance.SNAPSHOT} cannot be read"
    return told


def _files(first: Path, second: Path) -> dict[str, list[Any]]:
    """Files of the two snapshots that differ, or that one of them lacks."""
    mine, other = snapshot_of(first), snapshot_of(second)
    if mine is None or other is None:
        return {}
    names, others, found = _names(mine), _names(other), {}
    for name in sorted(names ^ others):
        found[f"file {name}"] = ["there", "absent"] if name in names else ["absent", "there"]
    for name in sorted(names & others):
        if not filecmp.cmp(mine / name, other / name, shallow=False):
            found[f"file {name}"] = [_digest(copy / name) for copy in (mine, other)]
    return found


def _digest(path: Path) -> str:
    """The beginning of a file's SHA-256, by which two versions are told apart."""
    return sha256_of(path)[:12]


def _names(copy: Path) -> set[str]:
    """Sources of a snapshot, by their paths below it."""
    return {
        os.path.relpath(os.path.join(folder, name), copy)
        for folder, _, names in os.walk(copy)
        for name in names
        if name.endswith(".py")
    }


def _numbers(one: Overview) -> dict[str, Any]:
    """The newest value of every metric, and of every result by its protocol."""
    assert one.run is not None
    keys = dict.fromkeys(key for line in one.run.lines for key in line if key not in TIMES)
    told = {key: value for key in keys if finite(value := one.run.last(key))}
    for entry in one.results:
        if not entry.superseded:
            where = f"{entry.result.task} ({entry.result.protocol}, {entry.result.dataset}, seed {entry.result.seed})"
            told |= {f"{where} {name}": value for name, value in entry.result.metrics.items()}
    return told
