"""Label images: a class index at each pixel, in a palette or in grey, read as it is and checked against its image.

detectron2 would convert a palette, such as that of Pascal VOC, to the brightness of its colours, and train on those
without a word. So labels are never converted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from transfer.detection.data.records import Reading


def label_image(path: str | Path) -> np.ndarray:
    """The class indices (H, W), uint8, of a palette or grey image.

    Raises:
        ValueError: an image of another kind.
    """
    with _opened(path) as image:
        return np.array(image)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"its mode is {image.mode}, not a palette or grey of 8 bits")
        yield image


def read_label_pairs(pairs: Sequence[tuple[Path, Path]], classes: Sequence[str], ignored: int) -> Reading:
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
    absent = [image for image, _ in pairs if not image.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images are missing, first {absent[0]}.")
    label_of = {str(image): label for image, label in pairs}
    with ThreadPoolExecutor() as pool:
        checked = pool.map(partial(_check_labels, count=len(classes), ignored=ignored), label_of.values())
        size_of = dict(zip(label_of, checked, strict=True))
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


def _check_labels(path: Path, count: int, ignored: int) -> tuple[tuple[int, int], bool]:
    """Width and height of a label image that holds nothing but `count` classes and `ignored`; whether it holds any."""
    try:
        with _opened(path) as image:
            present, size = np.flatnonzero(image.histogram()), image.size
    except Exception as error:  # Pillow's decoders raise many types; each means the same to the user
        raise UserError(
            f"{path} cannot be read as a label image ({error}): write class indices as 8-bit PNG."
        ) from error
    foreign = [int(value) for value in present if value >= count and value != ignored]
    if foreign:
        raise UserError(
            f"{path} holds label {foreign[0]}, but DATASETS.CLASSES lists {count} classes (0 to {count - 1}) and "
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {ignored}: correct the one or the other."
        )
    return size, bool((present != ignored).any())
