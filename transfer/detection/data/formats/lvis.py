"""Boxes and masks in LVIS' JSON on COCO's images; detectron2's own reader needs the package `lvis`, an older numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.formats.coco import Loaded, read_annotation_file
from transfer.detection.data.records import Reading


def read_lvis(split: Split) -> Reading:
    """Read JSON:FOLDER, where FOLDER holds COCO's train2017 and val2017.

    Raises:
        UserError: an entry of another form, or as `read_annotation_file`.
    """
    if ":" not in split.entry:
        raise UserError(f"split '{split.entry}' is not of the form JSON:FOLDER.")
    listing, images = split.pair()
    return read_annotation_file(listing, images, split, _load_lvis)


def _load_lvis(listing: Path, images: Path, _: str) -> Loaded:
    """Records of every image, and the classes, whose indices are the ranks of their ids.

    An image lies in the folder of COCO that its address ends with: IMAGES/train2017/000000000009.jpg.
    """
    from detectron2.structures import BoxMode

    content = json.loads(listing.read_text(encoding="utf-8"))
    categories = sorted(content["categories"], key=lambda category: category["id"])
    index = {category["id"]: place for place, category in enumerate(categories)}
    records: dict[Any, dict[str, Any]] = {}
    for image in content["images"]:
        path = Path(images, *image["coco_url"].split("/")[-2:])
        size = {"width": image["width"], "height": image["height"]}
        records[image["id"]] = {"file_name": str(path), "image_id": image["id"], **size, "annotations": []}
    for annotation in content["annotations"]:
        if annotation["image_id"] in records:
            shape = {key: annotation[key] for key in ("bbox", "segmentation") if key in annotation}
            category = {"category_id": index[annotation["category_id"]], "bbox_mode": BoxMode.XYWH_ABS}
            records[annotation["image_id"]]["annotations"].append({**shape, **category})
    return [records[key] for key in sorted(records)], [category["name"] for category in categories]


FORMAT = Format(
    name="lvis",
    help="JSON:FOLDER, where FOLDER holds COCO's train2017 and val2017",
    read=read_lvis,
    evaluators=("lvis",),
    holds=("masks",),
    names_classes=True,
    benchmarks={r"lvis_v1_(train|val)": r"lvis/lvis_v1_\1.json:coco"},
)
