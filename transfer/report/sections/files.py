"""The appendix: every result file with all that it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transfer.report.collect.names import arch_name
from transfer.report.collect.search import Collected, Downstream
from transfer.report.render.document import Block, Table
from transfer.report.sections import Section
from transfer.tasks import display_name

COLUMNS = "File,Task,Data,Protocol,Init,Seed,Metrics,Counts,Skipped,Settings,Seconds,Checkpoint"


def build(data: Collected) -> list[Block] | None:
    """One table, a file a row."""
    if not data.results:
        return None
    common = Path(os.path.commonpath([entry.path.parent for entry in data.results]))
    rows = tuple(_row(entry, common) for entry in data.results)
    caption = f"Files below {common}; of a checkpoint the first 12 digits of its SHA-256"
    return [Table(caption, tuple(COLUMNS.split(",")), rows, frozenset({5, 8, 10}))]


def _row(entry: Downstream, common: Path) -> tuple[str, ...]:
    result = entry.result
    counts = {key: value for key, value in result.counts.items() if key != "skipped"}
    superseded = " (superseded by a newer file, not counted)" if entry.superseded else ""
    return (
        f"{entry.path.relative_to(common)}{superseded}",
        display_name(result.task),
        result.dataset,
        result.protocol,
        f"{result.init}, {arch_name(result.arch)}",
        str(result.seed),
        _pairs(result.metrics),
        _pairs(counts),
        str(result.counts.get("skipped", "not recorded")),
        _pairs(result.settings) or "—",
        f"{result.seconds:.1f}",
        result.checkpoint_sha256[:12],
    )


def _pairs(values: dict[str, Any]) -> str:
    """ "key value, ..." on one line; a value of many lines, such as detectron2's configuration, stays in its file."""
    shown = []
    for key, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        shown.append(f"{key} {text if len(text.splitlines()) < 2 else '(see the file)'}")
    return ", ".join(shown)


SECTIONS = (Section("files", "Every result file", 110, build),)
