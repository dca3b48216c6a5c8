"""A picture of val images, each followed by its nearest training images: green where the class is the same."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageOps

from pretrain.data.sources import ImageSource, read_image
from transfer.analysis.base import Material

QUERIES, SHOWN, SIDE, EDGE = 8, 8, 96, 4
SAME, OTHER, QUERY = (40, 160, 70), (200, 50, 50), (255, 255, 255)


def read(material: Material) -> Iterator[tuple[str, Image.Image]]:
    """One picture, a row for each of QUERIES val images that are evenly spaced."""
    _, places = material.nearest
    train, val = _by_name(material.data.train), _by_name(material.data.val)
    shown = min(SHOWN, places.shape[1])
    rows = material.evenly(QUERIES).tolist()
    step = SIDE + 2 * EDGE
    sheet = Image.new("RGB", (step * (shown + 1), step * len(rows)), QUERY)
    for down, row in enumerate(rows):
        query = _tile(material.data.val, val[material.val.names[row]], QUERY)
        sheet.paste(query, (0, step * down))
        for across, place in enumerate(places[row, :shown].tolist(), 1):
            same = material.train.labels[place] == material.val.labels[row]
            tile = _tile(material.data.train, train[material.train.names[place]], SAME if same else OTHER)
            sheet.paste(tile, (step * across, step * down))
    yield "nearest neighbours", sheet


def _by_name(source: ImageSource) -> dict[str, int]:
    return {path.relative_to(source.root).as_posix(): index for index, path in enumerate(source.paths)}


def _tile(source: ImageSource, index: int, colour: tuple[int, int, int]) -> Image.Image:
    return ImageOps.expand(ImageOps.fit(read_image(source, index), (SIDE, SIDE)), EDGE, colour)
