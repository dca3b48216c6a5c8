"""Label images painted from the masks of a COCO JSON, for semantic segmentation."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically

MOST = 254  # classes an 8-bit label image can hold beside the background, one value being the ignored one
IGNORED = 255


def paint(listing: Path, out: Path, group: bool) -> list[str]:
    """Write OUT/STEM.png for every image of a COCO JSON: 0 where nothing is annotated, then the classes from 1.

    Larger objects are painted first, so that what lies on them stays visible; crowds are ignored (255).

    Args: group, paint the JSON's supercategories, in their order, in the place of its categories.

    Returns: the class names in the order of the labels, "background" first.

    Raises:
        UserError: no COCO JSON with masks, or more classes than a label image holds.
    """
    import pycocotools.mask

    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        of_category = {one["id"]: one["supercategory" if group else "name"] for one in content["categories"]}
        by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for found in sorted(content["annotations"], key=lambda one: -one["area"]):
            by_image[found["image_id"]].append(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{listing} is not a COCO JSON with categories, images and areas ({error!r}).") from error
    classes = list(dict.fromkeys(of_category[key] for key in sorted(of_category)))
    if len(classes) > MOST:
        raise UserError(f"{listing} has {len(classes)} classes, more than the {MOST} of a label image: try --group.")
    for image in content["images"]:
        height, width = image["height"], image["width"]
        labels = np.zeros((height, width), dtype=np.uint8)
        for found in by_image[image["id"]]:
            shape = found["segmentation"]
            if isinstance(shape, list) or isinstance(shape["counts"], list):
                shape = pycocotools.mask.frPyObjects(shape, height, width)
            shape = pycocotools.mask.merge(shape) if isinstance(shape, list) else shape
            value = IGNORED if found.get("iscrowd") else 1 + classes.index(of_category[found["category_id"]])
            labels[pycocotools.mask.decode(shape).astype(bool)] = value
        target = out / Path(image["file_name"]).with_suffix(".png")
        picture = Image.fromarray(labels)
        write_atomically(target, partial(picture.save, format="PNG"))
    return ["background", *classes]
