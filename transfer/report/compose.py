"""From what was collected to the report: its sections in their order, every number computed from the files."""

from __future__ import annotations

from transfer.report.collect.search import Collected
from transfer.report.render.document import Document, Heading
from transfer.report.sections import sections


def compose(data: Collected) -> Document:
    """The report, from summary to appendix."""
    untested = "Pretraining runs" if len(data.runs) > 1 else "A pretraining run"
    document = Document("What the pretrained features are worth" if data.results else untested)
    for section in sections():
        blocks = section.build(data)
        if blocks is not None:
            document.blocks += [Heading(section.title, section.anchor)] if section.title else []
            document.blocks += blocks
    return document
