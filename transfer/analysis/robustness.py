"""k-NN accuracy on corrupted val images with clean training images, in the manner of ImageNet-C."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from transfer.analysis import NEIGHBOURS, TEMPERATURE, FrozenRows, Reading

if TYPE_CHECKING:
    from transfer.features.rows import Features

SEVERITY = 3  # the middle of ImageNet-C's five
SHOWN = ("gaussian_noise", "gaussian_blur", "brightness", "contrast", "jpeg_compression", "pixelate")  # of its kinds


def robust_accuracy(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """Top-1 of the clean images, of each corruption, and the mean over them, on the same images of val."""
    from transfer.classifiers import knn
    from transfer.classifiers.accuracy import top
    from transfer.datasets.corruptions import corrupted
    from transfer.datasets.labelled import thinned

    source, accuracies = thinned(frozen.data.val, frozen.images), []

    def accuracy(features: Features) -> float:
        """Top-1 of some val images among all training images."""
        cosines, indices = knn.neighbours_of(frozen.train, features, [NEIGHBOURS], frozen.device, frozen.bank)
        scores = knn.weighted(cosines, frozen.train.labels[indices], frozen.classes, TEMPERATURE)
        return top(scores, features.labels, 1)

    yield f"clean, {len(source)} images, top1", accuracy(frozen.changed(source, None))
    for name in SHOWN:
        changed = frozen.changed(source, partial(corrupted, name=name, severity=SEVERITY))
        accuracies.append(accuracy(changed))
        yield f"{name.replace('_', ' ')}, ImageNet-C's severity {SEVERITY}, top1", accuracies[-1]
    yield f"mean over {len(accuracies)} of ImageNet-C's corruptions, top1", sum(accuracies) / len(accuracies)


READING = Reading(
    "robustness",
    "k-NN accuracy on noisy, blurred or corrupted val",
    robust_accuracy,
    needs={"scipy": "scipy"},
    order=50,
)
