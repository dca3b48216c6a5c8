"""Records of images and their label images, for semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.runtime.errors import UserError
from transfer.annotations.labels import Pairs, checked_labels
from transfer.detection.data.records import Reading


def read_label_pairs(pairs: Pairs, classes: Sequence[str], ignored: int) -> Reading:
    """Records of images and their label images, each of which is decoded once.

    An image without a pixel of a class is left out: there is nothing to learn from it, and its loss is not finite.

    Args:
        pairs: (image, label image).
        classes: names in the order of the labels.
        ignored: the label that no class has.

    Raises:
        UserError: a missing image, or a label image of another size, of another kind, or with foreign labels.
    """
    reading = Reading(classes=tuple(classes), metadata={"ignore_label": ignored})
    label_of = {str(image): label for image, label in pairs}
    size_of = dict(zip(label_of, checked_labels(pairs, classes, ignored), strict=True))
    for record in list(reading.read_images([image for image, _ in pairs])):
        image, size = record["file_name"], (record["width"], record["height"])
        found, labelled = size_of[image]
        if found != size:
            raise UserError(f"{label_of[image]} is {found}, but its image {image} is {size}: make them equal.")
        record["sem_seg_file_name"] = str(label_of[image])
        if not labelled:
            reading.unlabelled.append(str(label_of[image]))
            reading.records.remove(record)
    return reading
