"""What reading one split of a detection set gives: records, and what of it was changed or left out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from transfer.annotations.images import look_at
from transfer.annotations.masks import Size

Box = tuple[float, float, float, float]
Record = dict[str, Any]  # one of detectron2's dataset dicts
THINNEST = 0.01  # pixels of a box's side; a thinner one has no area that a detector's 32-bit numbers could hold
REPAIRS = {  # what was changed or left out of a split, in words
    "skipped": "images that cannot be decoded left out",
    "deep": "16-bit images scaled to 8 bits (the high byte of the bits in use)",
    "unlabelled": "images without a labelled pixel left out",
    "clipped": "boxes clipped to their image",
    "dropped": "boxes without an area in their image dropped",
    "repeated": "objects that are annotated twice counted once",
    "strays": "annotations of images that are not listed left out",
    "renumbered": "annotations whose id is no number from 1 on given one",
    "single": "annotations without iscrowd taken for single objects",
    "areas": "annotations without a usable area given the one of their mask or box",
    "polygons": "polygons of fewer than three points left out",
    "maskless": "objects without a pixel in their mask left out",
    "pointless": "objects without keypoints taken for such whose keypoints are not labelled",
    "outside": "keypoints outside their image taken for not labelled",
}


@dataclass(frozen=True)
class Roles:
    """What a split is used for: trained on, measured on, or both."""

    trained: bool
    measured: bool


@dataclass
class Reading:
    """One split as it was read.

    records: detectron2's dataset dicts. classes: names in the order of their indices. category_ids: the ids of the
    classes in the files, empty where they have none. metadata: what else is asked of detectron2's catalogue. The rest
    names what was changed or left out; REPAIRS says each in words.
    """

    records: list[Record] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    deep: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    renumbered: list[str] = field(default_factory=list)
    single: list[str] = field(default_factory=list)
    areas: list[str] = field(default_factory=list)
    polygons: list[str] = field(default_factory=list)
    maskless: list[str] = field(default_factory=list)
    pointless: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def images_without_objects(self) -> list[str]:
        """Images without an object to learn from: no annotation at all, or crowd regions only."""
        return [str(record["image_id"]) for record in self.records if not objects_of(record)]

    def read_images(self, paths: Sequence[Path]) -> Iterator[Record]:
        """Decode each image once; add and yield a record with its file, id (the stem) and size in pixels.

        An image that cannot be decoded is named in `skipped` and has no record.

        Raises:
            UserError: two images of one stem, which would be one to every evaluator.
        """
        first: dict[str, Path] = {}
        for path in paths:
            other = first.setdefault(path.stem, path)
            if other != path:
                raise UserError(f"{other} and {path} would both be the image '{path.stem}': rename one of them.")
        for path, seen in look_at(paths).items():
            if seen is None:
                self.skipped.append(str(path))
                continue
            size = {"width": seen.size[0], "height": seen.size[1]}
            record: Record = {"file_name": str(path), "image_id": path.stem, **size}
            self.deep += [str(path)] * seen.deep
            self.records.append(record)
            yield record


def object_record(category: int, box: Sequence[float]) -> Record:
    """An annotation of detectron2: the class's index and left, top, right, bottom in pixels from the image's corner."""
    from detectron2.structures import BoxMode

    return {"category_id": category, "bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "iscrowd": 0}


def box_inside(corners: Box, size: Size) -> Box | None:
    """A box (left, top, right, bottom) clipped to an image (width, height); None where it has no area inside."""
    left, top, right, bottom = corners
    box = (max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1]))
    return box if min(box[2] - box[0], box[3] - box[1]) >= THINNEST else None


def size_of(record: Record) -> Size:
    """(width, height) of a record's image."""
    return record["width"], record["height"]


def objects_of(record: Record) -> list[Record]:
    """The annotations of a record that are single objects, not crowd regions."""
    return [annotation for annotation in record.get("annotations", []) if not annotation.get("iscrowd", 0)]
