"""A picture of val images, each followed by its nearest training images: green where the class is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    from PIL import Image

    from pretrain.data.sources import ImageSource

QUERIES, SHOWN, SIDE, EDGE = 8, 8, 96, 4
SAME, OTHER, QUERY = (40, 160, 70), (200, 50, 50), (255, 255, 255)


def neighbours_picture(frozen: FrozenRows) -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """One picture, a line for each of QUERIES val images that are evenly spaced."""
    yield "nearest neighbours", partial(_draw, frozen)


def _draw(frozen: FrozenRows) -> Image.Image:
    from PIL import Image

    _, indices = frozen.nearest
    train, val = _by_name(frozen.data.train), _by_name(frozen.data.val)
    shown = min(SHOWN, indices.shape[1])
    rows = frozen.evenly(QUERIES).tolist()
    step = SIDE + 2 * EDGE
    sheet = Image.new("RGB", (step * (shown + 1), step * len(rows)), QUERY)
    for down, row in enumerate(rows):
        query = _tile(frozen.data.val, val[frozen.val.names[row]], QUERY)
        sheet.paste(query, (0, step * down))
        for across, index in enumerate(indices[row, :shown].tolist(), 1):
            same = frozen.train.labels[index] == frozen.val.labels[row]
            tile = _tile(frozen.data.train, train[frozen.train.names[index]], SAME if same else OTHER)
            sheet.paste(tile, (step * across, step * down))
    return sheet


def _by_name(source: ImageSource) -> dict[str, int]:
    return {source.key(index): index for index in range(len(source))}


def _tile(source: ImageSource, index: int, colour: tuple[int, int, int]) -> Image.Image:
    from PIL import ImageOps

    from pretrain.data.sources import read_image

    return ImageOps.expand(ImageOps.fit(read_image(source, index), (SIDE, SIDE)), EDGE, colour)


READING = Reading("neighbours", "a picture of val beside its nearest training images", neighbours_picture, order=60)
