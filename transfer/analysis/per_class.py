"""Accuracy of each class under k-NN (k = 20, T = 0.07): what an average over all classes hides."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.runtime.printable import printable
from transfer.analysis import TEMPERATURE, FrozenRows, Reading

SHOWN = 20  # classes; of more, the lowest


def class_accuracies(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """The mean over classes, then every class that val has, or the SHOWN lowest."""
    from transfer.classifiers import knn
    from transfer.classifiers.accuracy import top

    cosines, indices = frozen.nearest
    scores = knn.weighted(cosines, frozen.train.labels[indices], frozen.classes, TEMPERATURE)
    labels = frozen.val.labels
    accuracies = {
        name: top(scores[labels == label], labels[labels == label], 1)
        for label, name in enumerate(frozen.data.train.classes)
        if (labels == label).any()
    }
    yield "mean over classes, top1", sum(accuracies.values()) / len(accuracies)
    shown = sorted(accuracies, key=accuracies.__getitem__)[:SHOWN] if len(accuracies) > SHOWN else list(accuracies)
    for name in shown:
        yield f"class {printable(name)}, top1", accuracies[name]


READING = Reading("per_class", "k-NN accuracy of each class, the lowest 20 of many", class_accuracies, order=20)
