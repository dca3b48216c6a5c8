"""Where the numbers come from: what a run was, with what the results were measured, and what could not be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transfer.report.collect.runs import PretrainingRun, finite
from transfer.report.collect.search import Collected
from transfer.report.render.document import Block, Bullets, Facts, Table
from transfer.report.sections import Section, cells, sentence


def provenance(data: Collected) -> Iterator[Block]:
    """What the runs were, then the code, hardware and days of the results together.

    Of one run a box; of several, a box of what they share and a table of what differs.
    """
    boxes = [run_facts(run, f"Pretraining run {run.name}") for run in data.runs]
    if len(boxes) < 2:
        yield from boxes
    else:
        same = {name: text for name, text in boxes[0].values.items() if all(box.values[name] == text for box in boxes)}
        if same:
            yield Facts(f"Pretraining, the same in all {len(boxes)} runs", same, boxes[0].code)
        rows = []
        for run, box in zip(data.runs, boxes, strict=True):
            rows.append({"Run": run.name} | {name: text for name, text in box.values.items() if name not in same})
        yield Table("What differs between the runs", rows)
    if data.results:
        used = [entry.result for entry in data.results]
        yield Facts("Downstream evaluations", cells("results", used=used), {"Commit"})


def run_facts(run: PretrainingRun, title: str) -> Facts:
    """Method, network, data, schedule, code and time of one pretraining run."""
    typed, *rest = run.command.splitlines() or [""]  # the command line, then lines of a word and its value
    named = dict(line.split(" ", 1) for line in rest if " " in line and not line.endswith(" None"))
    times = [datetime.fromtimestamp(line["time"], timezone.utc) for line in run.lines if finite(line.get("time"))]
    known = {"seen": run.images_seen(), "epoch": run.last("epoch"), "skipped": run.last("images_skipped")}
    known |= {"times": times, "typed": named | ({"command": typed} if typed else {})}
    return Facts(title, cells("run", run=run, get=run.setting, **known), {"Commit", "Command", "Folder"})


def files(data: Collected) -> Iterator[Block]:
    """One table, a file a row."""
    if data.results:
        common = Path(os.path.commonpath([entry.path.parent for entry in data.results]))
        rows = []
        for entry in data.results:
            counts = {name: count for name, count in entry.result.counts.items() if name != "skipped"}
            known = {"file": entry.path.relative_to(common), "superseded": entry.superseded, "counts": counts}
            rows.append(cells("file", result=entry.result, pairs=_pairs, **known))
        yield Table(sentence("files", "caption", common=common), rows, ("Seed", "Skipped", "Seconds"))


def notes(data: Collected) -> Iterator[Block]:
    """A sentence for each file that is ours and could not be used; last, since other sections add to it."""
    if data.notes:
        yield Bullets(dict.fromkeys(data.notes))


def _pairs(values: dict[str, Any]) -> str:
    """ "key value, ..." on one line; a value of many lines, such as detectron2's configuration, stays in its file."""
    shown = []
    for key, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        shown.append(f"{key} {text if len(text.splitlines()) < 2 else '(see the file)'}")
    return ", ".join(shown)


SECTIONS = (
    Section("provenance", "Provenance", 20, provenance),
    Section("files", "Every result file", 110, files),
    Section("notes", "Could not read", 1000, notes),
)
