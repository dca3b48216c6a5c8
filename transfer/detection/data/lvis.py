"""Records of a JSON in LVIS layout; detectron2's own reader needs the package `lvis`, which needs an older numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode


def load_lvis_json(listing: str, pictures: str, name: str) -> list[dict[str, Any]]:
    """detectron2's records of every image, and the metadata thing_classes of `name`.

    An image lies in the folder of COCO that its address ends with: PICTURES/train2017/000000000009.jpg. A class's index
    is the rank of its id.
    """
    content = json.loads(Path(listing).read_text(encoding="utf-8"))
    categories = sorted(content["categories"], key=lambda one: one["id"])
    index = {category["id"]: place for place, category in enumerate(categories)}
    MetadataCatalog.get(name).thing_classes = [category["name"] for category in categories]
    records: dict[Any, dict[str, Any]] = {}
    for image in content["images"]:
        path = Path(pictures, *image["coco_url"].split("/")[-2:])
        about = {"image_id": image["id"], "width": image["width"], "height": image["height"]}
        records[image["id"]] = {"file_name": str(path), **about, "annotations": []}
    for found in content["annotations"]:
        if found["image_id"] in records:
            shape = {key: found[key] for key in ("bbox", "segmentation") if key in found}
            kind = {"category_id": index[found["category_id"]], "bbox_mode": BoxMode.XYWH_ABS}
            records[found["image_id"]]["annotations"].append({**shape, **kind})
    return [records[key] for key in sorted(records)]
