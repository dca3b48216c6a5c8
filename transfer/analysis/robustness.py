"""k-NN accuracy on corrupted val images with clean training images, in the manner of ImageNet-C."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from transfer.analysis.base import NEIGHBOURS, TEMPERATURE, Material
from transfer.analysis.corruptions import CORRUPTIONS, corrupted
from transfer.datasets.labelled import thinned
from transfer.evaluators import knn
from transfer.evaluators.accuracy import top
from transfer.features.extract import Features

SEVERITY = 3  # the middle of ImageNet-C's five


def read(material: Material) -> Iterator[tuple[str, float]]:
    """Top-1 of the clean images, of each corruption, and the mean over them, on the same images of val."""
    source, found = thinned(material.data.val, material.images), []

    def accuracy(features: Features) -> float:
        """Top-1 of some val images among all training images."""
        cosines, places = knn.neighbours_of(material.train, features, [NEIGHBOURS], material.device)
        scores = knn.weighted(cosines, material.train.labels[places], material.classes, TEMPERATURE)
        return top(scores, features.labels, 1)

    yield f"clean, {len(source)} images, top1", accuracy(material.further(source, lambda image: image))
    for name in CORRUPTIONS:
        found.append(accuracy(material.further(source, partial(corrupted, name=name, severity=SEVERITY))))
        yield f"{name.replace('_', ' ')}, severity {SEVERITY}, top1", found[-1]
    yield f"mean over {len(found)} corruptions, top1", sum(found) / len(found)
