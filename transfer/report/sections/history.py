"""How a run came to what it is: each start after the first, with the options that changed there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pretrain.engine.history import read_history
from pretrain.runtime.printable import printable, shortened
from transfer.report.collect.files import PretrainingRun, finite
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import ABSENT
from transfer.report.render.document import Block, note, table
from transfer.report.sections import Section, cells, sentence

EMPTY = dict.fromkeys(("images", "time", "command", "commit", "changed"))  # what an entry may lack
LONGEST = 300  # characters of a command that are shown


def build(data: Collected) -> Iterator[Block]:
    """A table of the starts of every run that was started more than once, and whether it has had two recipes."""
    rows = []
    for run in data.runs:
        starts = [EMPTY | entry for entry in _entries(run, data.notes) if finite(entry.get("step"))]
        if len(starts) > 1:
            rows += [cells("start", run=run, entry=entry, changes=changes(entry), text=_text) for entry in starts]
    if rows:
        yield note(sentence("history", "how"))
        yield table(sentence("history", "caption"), rows, ("Step", "Images"), merged=1)


def changes(entry: dict[str, Any]) -> str:
    """ "optim.epochs 2 → 3, data.val null → val"; a dash where nothing changed."""
    changed = entry.get("changed")
    if not isinstance(changed, dict) or not changed:
        return ABSENT
    told = []
    for name, values in changed.items():
        old, new = values if isinstance(values, list) and len(values) == 2 else ("?", "?")
        told.append(f"{_text(name)} {_text(old)} → {_text(new)}")
    return ", ".join(told)


def _entries(run: PretrainingRun, notes: list[str]) -> list[dict[str, Any]]:
    try:
        return read_history(run.folder)
    except OSError as error:
        notes.append(f"the history of {run.folder} cannot be read ({error.strerror}).")
        return []


def _text(value: Any) -> str:
    """A value of a history as it was typed, on one line."""
    typed = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return shortened(printable(" ".join(typed.split())), LONGEST)


SECTIONS = (Section("history", "How runs went on", 21, build),)
