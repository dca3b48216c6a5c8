"""What reading one split of a detection set gives: records, and which images and boxes were left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

EXIF_ORIENTATION = 274
QUARTER_TURNS = (5, 6, 7, 8)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Box = tuple[float, float, float, float]
Record = dict[str, Any]  # one of detectron2's dataset dicts


@dataclass
class Reading:
    """One split as it was read.

    records: detectron2's dataset dicts. classes: names in the order of their indices. metadata: what else an evaluator
    asks of detectron2's catalogue. The rest names what was changed or left out.

    skipped: images that cannot be decoded. clipped: boxes that reach out of their image. dropped: boxes without an area
    inside it. strays: annotations of images that are not listed.
    """

    records: list[Record] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def images_without_objects(self) -> list[str]:
        """Images without an object to learn from: no annotation at all, or crowd regions only."""
        return [str(record["image_id"]) for record in self.records if not objects_of(record)]

    def read_images(self, paths: Sequence[Path]) -> Iterator[Record]:
        """Decode each image once; add and yield a record with its file, id (the stem) and size in pixels.

        An image that cannot be decoded is named in `skipped` and has no record.
        """
        for path, size in sizes_of(paths).items():
            if size is None:
                self.skipped.append(str(path))
                continue
            record = {"file_name": str(path), "image_id": path.stem, "width": size[0], "height": size[1]}
            self.records.append(record)
            yield record


def object_record(category: int, box: Sequence[float]) -> Record:
    """An annotation of detectron2: the class's index and left, top, right, bottom in pixels from the image's corner."""
    from detectron2.structures import BoxMode

    return {"category_id": category, "bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "iscrowd": 0}


def box_inside(corners: Box, size: tuple[int, int]) -> Box | None:
    """A box (left, top, right, bottom) clipped to an image (width, height); None where it has no area inside."""
    left, top, right, bottom = corners
    box = (max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1]))
    return box if box[2] > box[0] and box[3] > box[1] else None


def objects_of(record: Record) -> list[Record]:
    """The annotations of a record that are single objects, not crowd regions."""
    return [annotation for annotation in record.get("annotations", []) if not annotation.get("iscrowd", 0)]


def images_below(folder: Path) -> list[Path]:
    """The images in a folder, at any depth, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def sizes_of(paths: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """(width, height) of each image as detectron2 will see it, None where a file cannot be decoded to its end.

    Every file is decoded once, in threads: PIL decodes outside Python's lock. A JPEG is decoded at an eighth of its
    size, which takes about 2 ms.
    """
    paths = list(paths)
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
