"""What two results may differ in and still be repetitions of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transfer.results import Result
from transfer.tasks import foreign_settings

# Whose trunk, which seed, where and on what it ran, and what the protocol itself chose by its own search.
MAY_DIFFER = {"seed", "skipped", "found", "workers", "threads", "device", "processes", "cache"}
MAY_DIFFER |= {"SEED", "OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS", "peak_memory_mb"}


def decisive(table: dict[str, Any]) -> dict[str, str]:
    """Counts or settings by name, as text, without those that may differ."""
    return {name: text for name, text in _flat(table).items() if name not in MAY_DIFFER}


def evaluation(result: Result) -> tuple[object, ...]:
    """What all repetitions of one evaluation share: task, data set, protocol, network and its settings."""
    settings = tuple(sorted(_table(result, "settings").items()))
    return result.task, result.dataset, result.protocol, result.arch, settings


def differing(found: Sequence[Result], what: str) -> list[str]:
    """Names of the `counts` or `settings` that should be the same in all of `found` and are not."""
    tables = [_table(result, what) for result in found]
    names = sorted({name for table in tables for name in table})
    return [name for name in names if len({table.get(name) for table in tables}) > 1]


def _table(result: Result, what: str) -> dict[str, str]:
    """The `counts` or `settings` of a result, without options of other evaluators, which earlier files hold too."""
    foreign = foreign_settings(result.task) if what == "settings" else frozenset()
    return {name: text for name, text in decisive(getattr(result, what)).items() if name not in foreign}


def _flat(table: dict[str, Any]) -> dict[str, str]:
    """Settings by name; of a whole configuration in one string (detectron2's), every line of it by its key."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        lines = str(value).splitlines()
        if len(lines) < 2:
            flat[key] = repr(value)
            continue
        section = ""
        for line in lines:
            name, _, text = line.partition(":")
            section = name if not line.startswith((" ", "-")) else section
            flat[section if name == section else f"{section}.{name.strip()}"] = text.strip()
    return flat
