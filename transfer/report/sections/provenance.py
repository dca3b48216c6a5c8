"""Where the numbers come from: what a run was, with what the results were measured, and what could not be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transfer.report.collect.files import PretrainingRun, finite
from transfer.report.collect.search import Collected
from transfer.report.render.document import Block, block, table
from transfer.report.sections import Section, cells, sentence


def provenance(data: Collected) -> Iterator[Block]:
    """What all runs share and a table of what differs; then the code, hardware and days of the results together."""
    facts = [run_facts(run) for run in data.runs]
    same = {name: text for name, text in facts[0].items() if all(of[name] == text for of in facts)} if facts else {}
    several = len(facts) > 1
    if same:
        shared = f"Pretraining, the same in all {len(facts)} runs"
        yield box(shared if several else f"Pretraining run {data.runs[0].name}", same)
    if several:
        differing = [{name: text for name, text in of.items() if name not in same} for of in facts]
        rows = [{"Run": run.name} | own for run, own in zip(data.runs, differing, strict=True)]
        yield table("What differs between the runs", rows)
    if data.results:
        used = [entry.result for entry in data.results]
        yield box("Downstream evaluations", cells("results", used=used))


def box(title: str, facts: dict[str, str]) -> Block:
    """Facts by name, those of a computer's making in its type."""
    return block("Facts", title=title, values=facts, code={"Commit", "Command", "Folder"})


def run_facts(run: PretrainingRun) -> dict[str, str]:
    """Method, network, data, schedule, code and time of one pretraining run, by name."""
    typed, *rest = run.command.splitlines() or [""]  # the command line, then lines of a word and its value
    named = dict(line.split(" ", 1) for line in rest if " " in line and not line.endswith(" None"))
    times = [datetime.fromtimestamp(line["time"], timezone.utc) for line in run.lines if finite(line.get("time"))]
    facts = cells("run", run=run, times=times, typed=named | ({"command": typed} if typed else {}))
    return {name: text for name, text in facts.items() if text or name != "Started from"}


def files(data: Collected) -> Iterator[Block]:
    """One table, a file a row."""
    if data.results:
        common = Path(os.path.commonpath([entry.path.parent for entry in data.results]))
        rows = []
        for entry in data.results:
            counts = {name: count for name, count in entry.result.counts.items() if name != "skipped"}
            known = {"file": entry.path.relative_to(common), "superseded": entry.superseded, "counts": counts}
            rows.append(cells("file", result=entry.result, pairs=_pairs, **known))
        yield table(sentence("files", "caption", common=common), rows, ("Seed", "Skipped", "Seconds"))


def notes(data: Collected) -> Iterator[Block]:
    """A sentence for each file that is ours and could not be used; last, since other sections add to it."""
    if data.notes:
        yield block("Bullets", items=dict.fromkeys(data.notes))


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
