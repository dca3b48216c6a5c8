"""What reading one split of a detection set finds: records, and which images and boxes were left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

EXIF_ORIENTATION = 274
QUARTER_TURNS = (5, 6, 7, 8)


@dataclass
class Reading:
    """records: detectron2's dataset dicts. The rest names what was changed or left out.

    skipped: images that cannot be decoded. clipped, dropped: boxes reaching out of their image, and boxes without an
    area inside it. strays: annotations of images that are not listed.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def bare(self) -> list[str]:
        """Images without an object to learn from: no annotation at all, or crowd regions only."""
        return [str(record["image_id"]) for record in self.records if not objects(record)]


def objects(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a record that are single objects, not crowd regions."""
    return [found for found in record.get("annotations", []) if not found.get("iscrowd", 0)]


def sizes_of(paths: Sequence[Path]) -> dict[Path, tuple[int, int] | None]:
    """(width, height) of each image as detectron2 will see it, None where a file cannot be decoded to its end.

    Every file is decoded once (a JPEG at an eighth of its size, 2 ms or so), in threads: PIL decodes outside the lock.
    """
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(_size_of, paths), strict=True))


def _size_of(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in QUARTER_TURNS
            image.draft("RGB", (width // 8, height // 8))
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what PIL raises on damaged files
        return None
    return (height, width) if turned else (width, height)
