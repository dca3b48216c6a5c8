"""Runs and their differences as a table for people, as JSON, or as CSV."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pretrain.runtime.printable import printable
from tools.run_folders.overview import Overview


def size_text(count: int) -> str:
    """Bytes in the largest unit of which there is one: 1.4 GB."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def of_runs(found: Sequence[Overview], form: str) -> str:
    """`list` and `best`: a line a run."""
    values = [one.values() for one in found]
    if form == "json":
        return json.dumps(values, indent=2)
    if form == "csv":
        return _csv(list(values[0]), [list(line.values()) for line in values])
    common = Path(os.path.commonpath([one.folder for one in found]))
    top = common.parent if len(found) == 1 else common
    lines = [_line(one, top) for one in found]
    notes = [f"{os.path.relpath(one.folder, top)}: {printable(one.why)}" for one in found if one.why]
    return "\n".join([f"in {printable(str(top))}", tabulate(lines, headers="keys", disable_numparse=True), *notes])


def _line(one: Overview, top: Path) -> dict[str, str]:
    values = one.values()
    return {
        "run": printable(os.path.relpath(one.folder, top)),
        "state": one.state,
        "method": _text(values["method"]),
        "data": printable("/".join(Path(str(values["data"] or "")).parts[-2:])),
        "epochs": f"{_text(round(values['epoch'] or 0, 2))} of {_text(values['epochs'])}" if values["epochs"] else "",
        "k-NN": _percent(values["knn"]),
        "linear": _percent(values["linear"]),
        "size": size_text(one.bytes),
        "checkpoint": Path(one.checkpoint).name,
    }


def of_best(told: Mapping[str, tuple[Overview, float]], form: str) -> str:
    """`best`: a line for each thing that was measured."""
    lines = [{"measured": what, "number": number, "run": str(one.folder)} for what, (one, number) in told.items()]
    if form == "json":
        return json.dumps(lines, indent=2)
    if form == "csv":
        return _csv(list(lines[0]), [list(line.values()) for line in lines])
    shown = [{name: _text(value) for name, value in line.items()} for line in lines]
    return tabulate(shown, headers="keys", disable_numparse=True)


def of_one(one: Overview, changed: Mapping[str, Sequence[Any]], form: str) -> str:
    """`show`: every value, the options that are not at their defaults, the results.

    Args: one: the run. changed: of such options, [default, value]. form: table, json or csv.
    """
    results = {f"{entry.result.task}: {entry.result.protocol} on {entry.result.dataset}": entry.result.metrics
               for entry in one.results if not entry.superseded}  # fmt: skip
    if form == "json":
        whole = {**one.values(), "options": {name: pair[1] for name, pair in changed.items()}, "results": results}
        return json.dumps(whole | {"notes": list(one.notes)}, indent=2, default=str)
    lines = [(name, _text(value)) for name, value in one.values().items() if value is not None]
    lines += [(name, _text(pair[1])) for name, pair in changed.items()]
    lines += [(f"{where} {name}", _text(value)) for where, read in results.items() for name, value in read.items()]
    if form == "csv":
        return _csv(["name", "value"], [list(line) for line in lines])
    return "\n".join([tabulate(lines, tablefmt="plain", disable_numparse=True), *map(printable, one.notes)])


def of_differences(told: Mapping[str, Mapping[str, Sequence[Any]]], names: Sequence[str], form: str) -> str:
    """`diff`: a line for each thing that differs.

    Args: told: of differences.differences. names: what the two runs are called. form: table, json or csv.
    """
    if form == "json":
        return json.dumps(told, indent=2, default=str)
    lines = [[part, name, *pair] for part, pairs in told.items() for name, pair in pairs.items()]
    if form == "csv":
        return _csv(["part", "name", *names], lines)
    if not lines:
        return "they do not differ in configuration, code or numbers"
    shown = [[part, *map(_text, rest)] for part, *rest in lines]
    return tabulate(shown, headers=["", "", *map(printable, names)], disable_numparse=True)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: Any) -> str:
    """A value in a cell; a number with the digits that are read."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else printable(str(value))


def _csv(names: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """With a header, without the last line's end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(lines)
    return text.getvalue().removesuffix("\n")
