"""Published label images, and the ones that a segmenter reads: class indices from 0 on, and what is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically

IGNORED = 255  # of 8 bits: the label of no class


def label_values(path: Path, archive: str) -> np.ndarray:
    """(height, width) values of a grey label image of 8 or 16 bits.

    Args: path, the image; archive, where it comes from.

    Raises:
        UserError: it cannot be read, or is in colours.
    """
    try:
        with Image.open(path) as image:
            values = np.array(image)
    except Exception as error:  # Pillow's decoders raise many types; each means the same to the user
        raise UserError(f"{path} cannot be read ({error}): unpack {archive} again.") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise UserError(f"{path} is no grey label image: unpack {archive} again.")
    return values


def write_relabelled(source: Path, target: Path, classes: Mapping[int, int], archive: str, known: int = 256) -> None:
    """Write a label image as 8-bit PNG: class indices, and IGNORED for all other labels. One that is there stays.

    Args:
        source: the published label image.
        target: where to write.
        classes: index by published label.
        archive: where the source comes from.
        known: number of labels that the data set has.

    Raises:
        UserError: the source cannot be read, or holds a label that is not known.
    """
    if target.is_file():
        return
    values = label_values(source, archive)
    if values.min() < 0 or values.max() >= known:
        raise UserError(
            f"{source} holds label {values.max()}, which the data set does not have: unpack {archive} again."
        )
    table = np.full(known, IGNORED, dtype=np.uint8)
    table[list(classes)] = list(classes.values())
    picture = Image.fromarray(table[values])
    write_atomically(target, lambda temporary: picture.save(temporary, format="PNG"))
