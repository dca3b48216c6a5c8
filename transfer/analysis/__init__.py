"""Further readings of frozen features. A reading is a file with `read(material)`, an iterator of (name, value).

A value is a number, in percent where it has a unit, or a picture. To add a reading, write the file and name it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from transfer.analysis import few_shot, neighbours, per_class, rankme, retrieval, robustness, tsne
from transfer.analysis.base import Material, Value

READINGS: dict[str, Callable[[Material], Iterator[tuple[str, Value]]]] = {
    "few_shot": few_shot.read,
    "per_class": per_class.read,
    "retrieval": retrieval.read,
    "rankme": rankme.read,
    "robustness": robustness.read,
    "neighbours": neighbours.read,
    "tsne": tsne.read,
}
