"""What a part of the GPU benchmark says of itself, and the readings that it yields. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """One row of the table.

    what: is measured. value: with its unit, as text, since parts measure many kinds of things. ratio: to what the row
    named `beside` took, both from the same rounds. note: a goal, or why there is no value. part: which one measured it.
    """

    what: str
    value: str = ""
    ratio: str = ""
    beside: str = ""
    note: str = ""
    part: str = ""


@dataclass(frozen=True)
class Asked:
    """What a part is to measure.

    device: "cpu" or "cuda". toy: whether everything is as small as it can be. images: a folder of images with train/
    and val/, or None for generated ones. until: when the part's time is over, by time.monotonic. scratch: an empty
    folder, removed afterwards.
    """

    device: str
    toy: bool
    images: Path | None
    until: float
    scratch: Path

    @property
    def left(self) -> float:
        """Seconds of this part's time."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Part:
    """One thing that the GPU benchmark measures.

    name: what --only takes. order: its place, the most telling first. share: of the time that the parts of a whole run
    have together. measure: yields rows as they come, so that what is measured before the time is over is kept.
    """

    name: str
    order: int
    share: float
    measure: Callable[[Asked], Iterator[Reading]]
