"""Reading one split of a data set in COCO layout for detectron2, checked before training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json

from pretrain.errors import UserError
from pretrain.files import write_json
from transfer.detection.images import Reading, sizes_of


def read_split(folder: Path, split: str, classes: Sequence[str], name: str, scratch: Path) -> Reading:
    """Read FOLDER/annotations/instances_SPLIT.json and the images in FOLDER/SPLIT, through detectron2's own reader.

    Fills detectron2's metadata of `name`: thing_classes, the map of category ids, and json_file, the ground truth of
    the evaluation. That is the JSON itself, or a copy in `scratch` without the images that cannot be decoded.
    Annotations without an area are dropped from the records.

    Args:
        classes: the expected names in the order of their ids, or empty to take the JSON's own.

    Raises:
        UserError: missing file or image, a JSON that is not COCO's, other classes, or a size unlike the image's.
    """
    listing, pictures = folder / "annotations" / f"instances_{split}.json", folder / split
    for needed, found in ((listing, listing.is_file()), (pictures, pictures.is_dir())):
        if not found:
            raise UserError(
                f"{needed} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in "
                "COCO layout."
            )
    try:
        reading = Reading(load_coco_json(str(listing), str(pictures), name))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{listing} is not a COCO instances file: {' '.join(str(error).split())}.") from error
    metadata = MetadataCatalog.get(name)
    if classes and list(classes) != metadata.thing_classes:
        raise UserError(
            f"{listing} holds the classes {', '.join(metadata.thing_classes)}, but DATASETS.CLASSES lists "
            f"{', '.join(classes)}: make them equal, or leave DATASETS.CLASSES empty."
        )
    _leave_out_unreadable(reading, listing)
    for record in reading.records:
        empty = [found for found in record["annotations"] if min(found["bbox"][2:]) <= 0]
        reading.dropped += [f"image {record['image_id']}: {found['bbox']}" for found in empty]
        record["annotations"] = [found for found in record["annotations"] if found not in empty]
    metadata.json_file = str(_truth(listing, reading, scratch / f"{name}.json"))
    return reading


def _leave_out_unreadable(reading: Reading, listing: Path) -> None:
    if not reading.records:
        raise UserError(f"{listing} lists no image: the split is empty.")
    paths = [Path(record["file_name"]) for record in reading.records]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images of {listing} are missing, first {absent[0]}.")
    sizes = sizes_of(paths)
    kept = []
    for record, path in zip(reading.records, paths, strict=True):
        if sizes[path] is None:
            reading.skipped.append(str(path))
        elif sizes[path] != (record["width"], record["height"]):
            told = f"{record['width']}x{record['height']}"
            raise UserError(f"{listing} says that {path} is {told}, but the image is {sizes[path]}.")
        else:
            kept.append(record)
    reading.records = kept


def _truth(listing: Path, reading: Reading, copy: Path) -> Path:
    if not reading.skipped:
        return listing
    content = json.loads(listing.read_text(encoding="utf-8"))
    kept = {record["image_id"] for record in reading.records}
    content["images"] = [image for image in content["images"] if image["id"] in kept]
    content["annotations"] = [found for found in content["annotations"] if found["image_id"] in kept]
    return write_json(copy, content)
