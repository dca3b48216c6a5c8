"""Sections of the report, one file each: a file that is put into this folder, with SECTIONS, is in every report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pretrain.runtime.registry import collect
from transfer.report.collect.search import Collected
from transfer.report.render.document import Block


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        anchor: what links point to.
        title: its heading; "" for the report's opening, which has none.
        order: where it stands; lower comes first.
        build: from what was collected to its blocks, none where there is nothing to say. What it cannot read it adds to
            the collected notes.
    """

    anchor: str
    title: str
    order: int
    build: Callable[[Collected], Iterable[Block]]


def sections() -> list[Section]:
    """All of them, in the order in which a reader meets them."""
    return sorted((one for group in collect(__name__, "SECTIONS") for one in group), key=lambda one: one.order)
