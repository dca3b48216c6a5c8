"""What could not be read: last, since other sections add to it."""

from __future__ import annotations

from transfer.report.collect.search import Collected
from transfer.report.render.document import Block, Bullets
from transfer.report.sections import Section


def build(data: Collected) -> list[Block] | None:
    """A sentence for each file that is ours and could not be used."""
    return [Bullets(tuple(dict.fromkeys(data.notes)))] if data.notes else None


SECTIONS = (Section("notes", "Could not read", 1000, build),)
