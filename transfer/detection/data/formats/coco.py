"""Boxes, masks and keypoints in COCO's JSON, with a folder of images; Cityscapes' instances as they are derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import shortened
from transfer.annotations.coco_json import Entry, called, plain_id, read_coco_json, stray_annotations
from transfer.annotations.images import look_at
from transfer.annotations.masks import number
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.records import Reading, Record

FieldsOf = Callable[[Entry], Record]  # what a record holds besides file, id and size, from the entry of its image


def read_coco(split: Split) -> Reading:
    """Read JSON:IMAGES, or SPLIT: annotations/instances_SPLIT.json and SPLIT/.

    Raises:
        UserError: as `read_annotation_file`.
    """
    if ":" in split.entry:
        listing, images = split.pair()
    else:
        folder, name = split.path().parent, split.path().name
        listing, images = folder / "annotations" / f"instances_{name}.json", folder / name
    return read_annotation_file(listing, images, split, lambda image: image.get("file_name"))


def read_annotation_file(
    listing: Path,
    images: Path,
    split: Split,
    name_of: Callable[[Entry], object],
    fields_of: FieldsOf | None = None,
) -> Reading:
    """Read a JSON and its images, and check that they fit together.

    Args:
        listing: the JSON.
        images: the folder of its images.
        split: what is read; its classes are the expected names in the order of their ids, or empty to take the JSON's.
        name_of: the entry of an image to the name of its file below `images`.
        fields_of: the entry of an image to what else its record holds.

    Raises:
        UserError: missing file or image, a JSON that is not COCO's, other classes, or a size unlike the image's.
    """
    _require(listing, images)
    content = read_coco_json(listing)
    if not content["images"]:
        raise UserError(f"{listing} lists no image: the split is empty.")
    categories = sorted(content["categories"], key=lambda category: category["id"])
    reading = Reading(
        classes=tuple(category["name"] for category in categories),
        metadata=_keypoints(listing, categories) | _frequencies(categories),
        strays=stray_annotations(content),
    )
    _check_classes(listing, reading.classes, split.classes)
    if all(isinstance(category["id"], int) for category in categories):
        reading.category_ids = tuple(category["id"] for category in categories)
    index = {category["id"]: place for place, category in enumerate(categories)}
    records: dict[Any, Record] = {}
    for image in sorted(content["images"], key=lambda image: image["id"]):
        path = path_inside(images, name_of(image), listing, links=True)
        size = {"width": image["width"], "height": image["height"]}
        records[image["id"]] = {"file_name": str(path), "image_id": image["id"], **size, "annotations": []}
        records[image["id"]] |= fields_of(image) if fields_of else {}
    for annotation in content["annotations"]:
        if annotation["image_id"] in records:
            found = _object(listing, annotation, index[annotation["category_id"]], reading)
            records[annotation["image_id"]]["annotations"].append(found)
    _keep_readable(reading, list(records.values()), listing)
    return reading


def _object(listing: Path, annotation: Entry, category: int, reading: Reading) -> Record:
    """An annotation of detectron2, with all that later checks ask of it."""
    from detectron2.structures import BoxMode

    if annotation.get("ignore"):
        raise UserError(
            f"{listing}: {called(annotation)} is marked 'ignore', which no evaluator here knows: mark it iscrowd, or "
            "remove it."
        )
    box = annotation.get("bbox")
    if not isinstance(box, list):
        raise UserError(f"{listing}: the box of {called(annotation)} is {shortened(box)}, not four finite numbers.")
    stated = annotation.get("iscrowd")
    crowd = 0.0 if stated is None else float(stated) if isinstance(stated, bool) else number(stated)
    if crowd not in (0, 1):
        raise UserError(f"{listing}: iscrowd of {called(annotation)} is {shortened(stated)}: write 0 or 1.")
    key = plain_id(annotation.get("id"))
    reading.single += [called(annotation)] * (stated is None)
    reading.renumbered += [called(annotation)] * (not isinstance(key, int) or key < 1)
    found = {"id": annotation.get("id"), "category_id": category, "bbox": box, "bbox_mode": BoxMode.XYWH_ABS}
    found |= {"iscrowd": int(crowd), "area": annotation.get("area")}
    return found | {key: annotation[key] for key in ("segmentation", "keypoints") if key in annotation}


def _require(listing: Path, images: Path) -> None:
    for path, exists in ((listing, listing.is_file()), (images, images.is_dir())):
        if not exists:
            raise UserError(
                f"{path} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in "
                "COCO layout."
            )


def _check_classes(listing: Path, held: Sequence[str], expected: Sequence[str]) -> None:
    if not held:
        raise UserError(f"{listing} names no category: there is nothing to tell apart.")
    if expected and list(expected) != list(held):
        named, listed = (shortened(", ".join(names), 400) for names in (held, expected))
        raise UserError(
            f"{listing} holds the classes {named}, but DATASETS.CLASSES lists {listed}: make them equal, or leave "
            "DATASETS.CLASSES empty."
        )


def _keypoints(listing: Path, categories: Sequence[Entry]) -> dict[str, Any]:
    """Names of the keypoints and which of them change places in a mirrored image, by left_ and right_."""
    named = [category["keypoints"] for category in categories if category.get("keypoints")]
    if not named:
        return {}
    points = named[0]
    if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
        raise UserError(f"{listing}: the keypoints of a category are no list of names: give each keypoint a name.")
    if len(set(points)) < len(points) or any(other != points for other in named):
        raise UserError(f"{listing}: categories name different keypoints, or one twice: a detector learns one set.")
    pairs = [(point, point.replace("left", "right")) for point in points if "left" in point]
    flips = [(left, right) for left, right in pairs if right in points]
    return {"keypoint_names": tuple(points), "keypoint_flip_map": tuple(flips)}


def _frequencies(categories: Sequence[Entry]) -> dict[str, Any]:
    """LVIS' rare, common and frequent classes."""
    stated = [category.get("frequency") for category in categories]
    return {"frequencies": stated} if any(stated) else {}


def _keep_readable(reading: Reading, records: Sequence[Record], listing: Path) -> None:
    """Give the reading those records whose images can be decoded and are as large as the JSON says."""
    paths = [Path(record["file_name"]) for record in records]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images of {listing} are missing, first {absent[0]}.")
    looks = look_at(paths)
    for record, path in zip(records, paths, strict=True):
        seen = looks[path]
        if seen is None:
            reading.skipped.append(str(path))
            continue
        if seen.size != (record["width"], record["height"]):
            stated = f"{record['width']}x{record['height']}"
            raise UserError(f"{listing} says that {path} is {stated}, but the image is {seen.size}.")
        reading.deep += [str(path)] * seen.deep
        reading.records.append(record)


FORMAT = Format(
    name="coco",
    help="SPLIT (annotations/instances_SPLIT.json and SPLIT/), or JSON:IMAGES for a file and a folder of any name",
    read=read_coco,
    evaluators=("coco",),
    holds=("masks", "keypoints"),
    names_classes=True,
    benchmarks={
        r"coco_(\d{4})_(train|val)": r"coco/annotations/instances_\2\1.json:coco/\2\1",
        r"keypoints_coco_(\d{4})_(train|val)": r"coco/annotations/person_keypoints_\2\1.json:coco/\2\1",
        r"cityscapes_(train|val)": r"cityscapes/annotations/instances_\1.json:cityscapes/leftImg8bit/\1",
    },
)
