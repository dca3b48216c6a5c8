"""Boxes, masks and keypoints in COCO's JSON, with a folder of images; Cityscapes' instances as they are derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from transfer.detection.data.coco_json import read_coco_json, stray_annotations
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.records import Reading, Record, box_inside, sizes_of

ROUNDING = 1.0  # pixels that a box may reach out of its image before it is worth a word
Loaded = tuple[list[Record], list[str]]  # records, and the classes in the order of their indices


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
    return read_annotation_file(listing, images, split, _load_coco)


def read_annotation_file(
    listing: Path, images: Path, split: Split, load: Callable[[Path, Path, str], Loaded]
) -> Reading:
    """Read a JSON and its images, check every image and box, and prepare the ground truth of the evaluation.

    The metadata get json_file, the ground truth: the JSON itself, or a copy in SCRATCH without the images that cannot
    be decoded and without the boxes dropped; and the keypoints where the JSON names them. Boxes without an area inside
    their image are dropped, those that reach out of it clipped.

    Args:
        listing: the JSON.
        images: the folder of its images.
        split: what is read; its classes are the expected names in the order of their ids, or empty to take the JSON's.
        load: (JSON, folder, name in the catalogue) to records and classes.

    Raises:
        UserError: missing file or image, a JSON that is not COCO's, other classes, or a size unlike the image's.
    """
    _require(listing, images)
    content = read_coco_json(listing)
    if not content["images"]:
        raise UserError(f"{listing} lists no image: the split is empty.")
    try:
        records, classes = load(listing, images, split.name)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{listing} is not a COCO instances file: {' '.join(str(error).split())}.") from error
    reading = Reading(records, tuple(classes), _keypoints(content["categories"]), strays=stray_annotations(content))
    _check_classes(listing, classes, split.classes)
    _leave_out_unreadable(reading, listing)
    removed = {}
    for record in reading.records:
        record["annotations"], removed[record["image_id"]] = _clip_annotations(record, reading)
    reading.metadata["json_file"] = str(
        _ground_truth(listing, content, reading, removed, split.scratch / f"{split.name}.json")
    )
    return reading


def _load_coco(listing: Path, images: Path, name: str) -> Loaded:
    """With detectron2's own reader, which enters the categories in its catalogue."""
    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets.coco import load_coco_json

    records = load_coco_json(str(listing), str(images), name)
    return records, MetadataCatalog.get(name).thing_classes


def _require(listing: Path, images: Path) -> None:
    for path, exists in ((listing, listing.is_file()), (images, images.is_dir())):
        if not exists:
            raise UserError(
                f"{path} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in "
                "COCO layout."
            )


def _check_classes(listing: Path, held: Sequence[str], expected: Sequence[str]) -> None:
    if expected and list(expected) != list(held):
        raise UserError(
            f"{listing} holds the classes {', '.join(held)}, but DATASETS.CLASSES lists {', '.join(expected)}: make "
            "them equal, or leave DATASETS.CLASSES empty."
        )


def _keypoints(categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Names of the keypoints and which of them change places in a mirrored image, by left_ and right_."""
    points = next((category["keypoints"] for category in categories if category.get("keypoints")), None)
    if not points:
        return {}
    pairs = [(point, point.replace("left", "right")) for point in points if "left" in point]
    flips = [(left, right) for left, right in pairs if right in points]
    return {"keypoint_names": tuple(points), "keypoint_flip_map": tuple(flips)}


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
            stated = f"{record['width']}x{record['height']}"
            raise UserError(f"{listing} says that {path} is {stated}, but the image is {sizes[path]}.")
        else:
            kept.append(record)
    reading.records = kept


def _clip_annotations(record: Record, reading: Reading) -> tuple[list[Record], list[list[float]]]:
    """The annotations with an area inside the image, their boxes clipped to it; and the boxes of the others."""
    width, height = record["width"], record["height"]
    kept, removed = [], []
    for annotation in record["annotations"]:
        left, top, across, down = annotation["bbox"]
        sentence = f"image {record['image_id']}: {annotation['bbox']}"
        box = box_inside((left, top, left + across, top + down), (width, height))
        if min(across, down) <= 0 or box is None:
            reading.dropped.append(sentence)
            removed.append(annotation["bbox"])
            continue
        if min(left, top) < -ROUNDING or left + across > width + ROUNDING or top + down > height + ROUNDING:
            reading.clipped.append(sentence)
            annotation["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        kept.append(annotation)
    return kept, removed


def _ground_truth(
    listing: Path, content: dict[str, Any], reading: Reading, removed: dict[Any, list[list[float]]], copy: Path
) -> Path:
    """The JSON itself where all of it is used, else a copy of what is.

    Args: removed: the boxes dropped, by the id of each image that is used.
    """
    if not (reading.skipped or reading.dropped):
        return listing
    images = [image for image in content["images"] if image["id"] in removed]
    annotations = [
        annotation
        for annotation in content["annotations"]
        if annotation["image_id"] in removed and annotation["bbox"] not in removed[annotation["image_id"]]
    ]
    return write_json(copy, {**content, "images": images, "annotations": annotations})


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
