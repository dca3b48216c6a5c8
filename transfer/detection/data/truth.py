"""The one truth: a COCO JSON of the checked records, which every evaluator of instances measures against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from transfer.annotations.masks import area_of, number
from transfer.detection.data.records import Reading, Record, size_of
from transfer.detection.data.repair import HALF_PIXEL, said

LARGEST_AREA = 1e10  # where pycocotools' range of all areas ends
OF_IMAGES = ("neg_category_ids", "not_exhaustive_category_ids")  # class indices that LVIS gives with an image


def category_ids(reading: Reading) -> tuple[int, ...]:
    """The ids of the classes in the truth and in detectron2's files of predictions, by index."""
    return reading.category_ids or tuple(range(len(reading.classes)))


def write_truth(path: Path, reading: Reading) -> Path:
    """Write the records of a split for pycocotools: annotations numbered from 1, each with all that it reads.

    An area that is stated is kept where it is a number that can be one.

    Raises:
        UserError: the file cannot be written.
    """
    ids = category_ids(reading)
    frequencies = reading.metadata.get("frequencies", [None] * len(ids))
    categories: list[dict[str, Any]] = [
        {"id": key, "name": name, **({} if often is None else {"frequency": often})}
        for key, name, often in zip(ids, reading.classes, frequencies, strict=True)
    ]
    annotations: list[dict[str, Any]] = []
    for record in reading.records:
        for annotation in record["annotations"]:
            entry = _entry(annotation, record, reading)
            entry |= {"id": len(annotations) + 1, "category_id": ids[annotation["category_id"]]}
            annotations.append(entry)
    images = [_image(record, ids) for record in reading.records]
    content = {"info": {}, "licenses": [], "images": images, "categories": categories, "annotations": annotations}
    try:
        return write_json(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}): make room for it.") from error


def _image(record: Record, ids: tuple[int, ...]) -> dict[str, Any]:
    entry = {"id": record["image_id"], "file_name": record["file_name"]}
    entry |= {"width": record["width"], "height": record["height"]}
    return entry | {key: [ids[index] for index in record[key]] for key in OF_IMAGES if key in record}


def _entry(annotation: Record, record: Record, reading: Reading) -> dict[str, Any]:
    from detectron2.structures import BoxMode

    box = [float(side) for side in annotation["bbox"]]
    box = BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYWH_ABS)
    entry = {"image_id": record["image_id"], "bbox": box, "iscrowd": annotation.get("iscrowd", 0)}
    mask = annotation.get("segmentation")
    if mask is not None:
        entry["segmentation"] = mask
    if "keypoints" in annotation:
        points = annotation["keypoints"]
        entry["keypoints"] = [value - HALF_PIXEL if place % 3 < 2 else value for place, value in enumerate(points)]
        entry["num_keypoints"] = sum(value > 0 for value in points[2::3])
    area = number(annotation.get("area"))
    if area is None or not 0 < area < LARGEST_AREA:
        area = box[2] * box[3] if mask is None else area_of(mask, size_of(record))
        reading.areas += [said(annotation, record)] * ("area" in annotation)
    return entry | {"area": area}
