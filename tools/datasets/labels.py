"""Label images painted from the masks of a COCO JSON, for semantic segmentation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from tools.datasets.base import DataSet

MOST_CLASSES = 254  # an 8-bit label image can hold besides the background, one value being the ignored one
IGNORED = 255


def paint_labels(listing: Path, out: Path, group: bool) -> list[str]:
    """Write OUT/STEM.png for every image of a COCO JSON: 0 where nothing is annotated, then the classes from 1.

    Larger objects are painted first, so that what lies on them stays visible. Crowds are ignored (255).

    Args:
        listing: the JSON.
        out: folder to write.
        group: paint the JSON's supercategories, in their order, in the place of its categories.

    Returns:
        the class names in the order of the labels, "background" first.

    Raises:
        UserError: no COCO JSON with masks, or more classes than a label image holds.
    """
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        name_of = {one["id"]: one["supercategory" if group else "name"] for one in content["categories"]}
        by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in sorted(content["annotations"], key=lambda one: -one["area"]):
            by_image[annotation["image_id"]].append(annotation)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{listing} is not a COCO JSON with categories, images and areas ({error!r}).") from error
    classes = list(dict.fromkeys(name_of[key] for key in sorted(name_of)))
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{listing} has {len(classes)} classes, more than the {MOST_CLASSES} of a label image: try --group."
        )
    label_of = {key: 1 + classes.index(name) for key, name in name_of.items()}
    for image in content["images"]:
        labels = _labels(image["height"], image["width"], by_image[image["id"]], label_of)
        picture = Image.fromarray(labels)
        write_atomically(out / Path(image["file_name"]).with_suffix(".png"), partial(picture.save, format="PNG"))
    return ["background", *classes]


def _labels(height: int, width: int, annotations: Sequence[dict[str, Any]], label_of: dict[Any, int]) -> np.ndarray:
    """(height, width) uint8, the annotations painted in their order."""
    import pycocotools.mask

    labels = np.zeros((height, width), dtype=np.uint8)
    for annotation in annotations:
        shape = annotation["segmentation"]
        if isinstance(shape, list) or isinstance(shape["counts"], list):
            shape = pycocotools.mask.frPyObjects(shape, height, width)
        shape = pycocotools.mask.merge(shape) if isinstance(shape, list) else shape
        value = IGNORED if annotation.get("iscrowd") else label_of[annotation["category_id"]]
        labels[pycocotools.mask.decode(shape).astype(bool)] = value
    return labels


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listing", type=Path, metavar="INSTANCES.json", help="a COCO JSON with masks")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, one PNG an image")
    parser.add_argument("--group", action="store_true", help="paint supercategories instead of categories")


def _prepare_labels(args: argparse.Namespace) -> None:
    """Paint, and say the classes as a configuration wants them."""
    classes = paint_labels(args.listing, args.out, args.group)
    print(f"{args.out}: labels of {len(classes)} classes; DATASETS.CLASSES={tuple(classes)}")


DATASET = DataSet("labels", "paint the masks of a COCO JSON as label images", _add_options, _prepare_labels)
