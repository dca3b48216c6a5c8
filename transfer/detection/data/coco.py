"""Reading one split of a data set in COCO layout for detectron2, checked before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from transfer.detection.data.coco_json import read_listing, strays
from transfer.detection.data.records import Reading, sizes_of

ROUNDING = 1.0  # pixels that a box may reach out of its image before it is worth a word


def read_split(
    listing: Path,
    pictures: Path,
    classes: Sequence[str],
    name: str,
    scratch: Path,
    load: Callable[[str, str, str], list[dict[str, Any]]] = load_coco_json,
) -> Reading:
    """Read the JSON `listing` and its images below `pictures`, through detectron2's own reader.

    Fills detectron2's metadata of `name`: thing_classes, the map of category ids, keypoints where the JSON names them,
    and json_file, the ground truth of the evaluation. That is the JSON itself, or a copy in `scratch` without the
    images that cannot be decoded and without the boxes dropped. Boxes without an area inside their image are dropped,
    those reaching out of it clipped.

    Args:
        classes: the expected names in the order of their ids, or empty to take the JSON's own.
        load: detectron2's reader of the layout: (JSON, folder, name) to records.

    Raises:
        UserError: missing file or image, a JSON that is not COCO's, other classes, or a size unlike the image's.
    """
    _require(listing, pictures)
    content = read_listing(listing)
    if not content["images"]:
        raise UserError(f"{listing} lists no image: the split is empty.")
    _name_keypoints(name, content["categories"])
    try:
        reading = Reading(load(str(listing), str(pictures), name), strays=strays(content))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{listing} is not a COCO instances file: {' '.join(str(error).split())}.") from error
    metadata = MetadataCatalog.get(name)
    _check_classes(listing, metadata.thing_classes, classes)
    _leave_out_unreadable(reading, listing)
    removed = {}
    for record in reading.records:
        record["annotations"], removed[record["image_id"]] = _inside(record, reading)
    metadata.json_file = str(_truth(listing, content, reading, removed, scratch / f"{name}.json"))
    return reading


def _require(listing: Path, pictures: Path) -> None:
    for needed, found in ((listing, listing.is_file()), (pictures, pictures.is_dir())):
        if not found:
            raise UserError(
                f"{needed} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in "
                "COCO layout."
            )


def _check_classes(listing: Path, held: Sequence[str], expected: Sequence[str]) -> None:
    if expected and list(expected) != list(held):
        raise UserError(
            f"{listing} holds the classes {', '.join(held)}, but DATASETS.CLASSES lists {', '.join(expected)}: make "
            "them equal, or leave DATASETS.CLASSES empty."
        )


def _name_keypoints(name: str, categories: Sequence[dict[str, Any]]) -> None:
    """Names of the keypoints and which of them change places in a mirrored image, by left_ and right_."""
    points = next((category["keypoints"] for category in categories if category.get("keypoints")), None)
    if points:
        pairs = [(point, point.replace("left", "right")) for point in points if "left" in point]
        flips = [(left, right) for left, right in pairs if right in points]
        MetadataCatalog.get(name).set(keypoint_names=tuple(points), keypoint_flip_map=tuple(flips))


def _leave_out_unreadable(reading: Reading, listing: Path) -> None:
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


def _inside(record: dict[str, Any], reading: Reading) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """The annotations with an area inside the image, their boxes clipped to it; and the boxes of the others."""
    width, height = record["width"], record["height"]
    kept, removed = [], []
    for found in record["annotations"]:
        left, top, across, down = found["bbox"]
        right, bottom = min(left + across, width), min(top + down, height)
        told = f"image {record['image_id']}: {found['bbox']}"
        if min(across, down) <= 0 or right <= max(left, 0) or bottom <= max(top, 0):
            reading.dropped.append(told)
            removed.append(found["bbox"])
            continue
        if min(left, top) < -ROUNDING or left + across > width + ROUNDING or top + down > height + ROUNDING:
            reading.clipped.append(told)
            found["bbox"] = [max(left, 0), max(top, 0), right - max(left, 0), bottom - max(top, 0)]
        kept.append(found)
    return kept, removed


def _truth(
    listing: Path, content: dict[str, Any], reading: Reading, removed: dict[Any, list[list[float]]], copy: Path
) -> Path:
    if not (reading.skipped or reading.dropped):
        return listing
    images = [image for image in content["images"] if image["id"] in removed]
    annotations = [
        found
        for found in content["annotations"]
        if found["image_id"] in removed and found["bbox"] not in removed[found["image_id"]]
    ]
    return write_json(copy, {**content, "images": images, "annotations": annotations})
