"""What a JSON in COCO layout must hold before detectron2 reads it: pycocotools drops repeats and strays silently."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError

LISTS = ("images", "annotations", "categories")


def read_coco_json(path: Path) -> dict[str, Any]:
    """Parse a COCO or LVIS instances file and check that its parts fit together.

    Raises:
        UserError: not such a file, an id or a category's name that is given twice, an annotation of an unknown
            category, or a box that is not four finite numbers.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in LISTS if not isinstance(content[name], list)]
        if missing:
            raise TypeError(f"'{missing[0]}' is no list")
        _check(path, content)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(f"{path} is not a COCO instances file: {reason}.") from error
    return content


def _check(path: Path, content: Mapping[str, Any]) -> None:
    for name in LISTS:
        repeated = [key for key, times in Counter(entry["id"] for entry in content[name]).items() if times > 1]
        if repeated:
            raise UserError(
                f"{path} gives {len(repeated)} ids of its {name} to more than one entry, first id {repeated[0]}: "
                "make them unique."
            )
    names = Counter(category["name"] for category in content["categories"])
    if any(times > 1 for times in names.values()):
        raise UserError(f"{path} has two categories named '{names.most_common(1)[0][0]}': give each its own name.")
    known = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in known:
            raise UserError(
                f"{path}: annotation {annotation['id']} has category_id={annotation['category_id']}, which is not "
                "among its categories: add the category or remove the annotation."
            )
        box = annotation["bbox"]
        if len(box) != 4 or not all(math.isfinite(side) for side in box):
            raise UserError(f"{path}: the box of annotation {annotation['id']} is {box}, not four finite numbers.")


def stray_annotations(content: Mapping[str, Any]) -> list[str]:
    """Annotations of images that are not listed; readers of the layout leave them out."""
    listed = {image["id"] for image in content["images"]}
    return [
        f"annotation {annotation['id']} of image {annotation['image_id']}"
        for annotation in content["annotations"]
        if annotation["image_id"] not in listed
    ]
