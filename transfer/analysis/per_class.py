"""Accuracy of each class under k-NN (k = 20, T = 0.07): what an average over all classes hides."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.analysis.base import TEMPERATURE, Material
from transfer.evaluators import knn
from transfer.evaluators.accuracy import top

SHOWN = 20  # classes; of more, the lowest


def read(material: Material) -> Iterator[tuple[str, float]]:
    """The mean over classes, then every class that val has, or the SHOWN lowest."""
    cosines, places = material.nearest
    scores = knn.weighted(cosines, material.train.labels[places], material.classes, TEMPERATURE)
    labels = material.val.labels
    found = {
        name: top(scores[labels == label], labels[labels == label], 1)
        for label, name in enumerate(material.data.train.classes)
        if (labels == label).any()
    }
    yield "mean over classes, top1", sum(found.values()) / len(found)
    shown = found if len(found) <= SHOWN else sorted(found, key=found.__getitem__)[:SHOWN]
    for name in shown:
        yield f"class {name}, top1", found[name]
