"""Label images painted from the masks of a COCO JSON, for semantic segmentation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from pretrain.runtime.names import path_inside
from pretrain.runtime.options.arguments import a_path
from pretrain.runtime.printable import printable
from tools.datasets.base import DataSet

MOST_CLASSES = 254  # an 8-bit label image can hold besides the background, one value being the ignored one
IGNORED = 255
MARK = ("Software", "tools/prepare_data.py labels")  # in each PNG: such a file may be painted again, no other may


@dataclass(frozen=True)
class Shape:
    """One annotation. mask: checked. value: of its label. area: as stated, else in pixels."""

    mask: Any
    value: int
    area: float


def paint_labels(listing: Path, out: Path, group: bool) -> tuple[list[str], list[str]]:
    """Write OUT/STEM.png for every image of a COCO JSON: 0 where nothing is annotated, then the classes from 1.

    Larger objects are painted first, so that what lies on them stays visible. Crowds are ignored (255). All of the
    JSON is checked before the first file is written.

    Args:
        listing: the JSON.
        out: folder to write.
        group: paint the JSON's supercategories, in their order, in the place of its categories.

    Returns:
        the class names in the order of the labels, "background" first; and sentences on what was left out.

    Raises:
        UserError: no COCO JSON with masks, more classes than a label image holds, a name that leads out of `out`, two
            images of one name, or a file of that name that is no label image of this tool.
    """
    from transfer.annotations.coco_json import read_coco_json, stray_annotations

    content = read_coco_json(listing)
    classes, value_of = _values(listing, content["categories"], group)
    shapes, left_out = _shapes(listing, content, value_of)
    targets = _targets(listing, content["images"], out)
    for image, target in zip(content["images"], targets, strict=True):
        size = (image["width"], image["height"])
        picture = Image.fromarray(_painted(sorted(shapes[image["id"]], key=lambda one: -one.area), size))
        information = PngInfo()
        information.add_text(*MARK)
        try:
            write_atomically(target, partial(picture.save, format="PNG", pnginfo=information))
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error.strerror or error}): make room for it.") from error
    strays = stray_annotations(content)
    told = [(left_out, "polygons of fewer than three points"), (len(strays), "annotations of images not listed")]
    return ["background", *classes], [f"{count} {words} left out" for count, words in told if count]


def _values(listing: Path, categories: Sequence[Mapping[str, Any]], group: bool) -> tuple[list[str], dict[Any, int]]:
    """The classes in the order of their labels, and the label of each category by its id."""
    key = "supercategory" if group else "name"
    nameless = [one["id"] for one in categories if not isinstance(one.get(key), str)]
    if nameless:
        raise UserError(f"{listing}: category {nameless[0]} has no {key}: give it one, or leave --group.")
    name_of = {one["id"]: one[key] for one in sorted(categories, key=lambda one: one["id"])}
    classes = list(dict.fromkeys(name_of.values()))
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{listing} has {len(classes)} classes, more than the {MOST_CLASSES} of a label image: try --group."
        )
    return classes, {key: 1 + classes.index(name) for key, name in name_of.items()}


def _shapes(
    listing: Path, content: Mapping[str, Any], value_of: Mapping[Any, int]
) -> tuple[dict[Any, list[Shape]], int]:
    """The shapes of each image by its id, and how many parts of them were left out."""
    from transfer.annotations.coco_json import called
    from transfer.annotations.masks import area_of, checked_mask, number

    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    shapes: dict[Any, list[Shape]] = {key: [] for key in sizes}
    left_out = 0
    for annotation in content["annotations"]:
        size = sizes.get(annotation["image_id"])
        if size is None:
            continue
        try:
            mask, parts = checked_mask(annotation.get("segmentation"), size)
            if mask is None:
                raise ValueError("has no area" if parts == 0 else "has fewer than three points")
        except ValueError as error:
            raise UserError(
                f"{listing}: {called(annotation)} has a mask that {error}: correct it or remove the annotation."
            ) from error
        area = number(annotation.get("area"))
        value = IGNORED if annotation.get("iscrowd") else value_of[annotation["category_id"]]
        shapes[annotation["image_id"]].append(Shape(mask, value, area_of(mask, size) if area is None else area))
        left_out += parts
    return shapes, left_out


def _targets(listing: Path, images: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Where each label image goes."""
    source: dict[Path, str] = {}
    for image in images:
        name = image.get("file_name")
        target = path_inside(out, name, listing).with_suffix(".png")
        if target in source:
            raise UserError(
                f"{listing} names the images {source[target]} and {printable(str(name))}, whose labels would both be "
                f"{target}: rename one of them."
            )
        if target.exists() and not _painted_before(target):
            raise UserError(
                f"{target} is there already and was not painted by this tool: give an empty folder for the labels."
            )
        source[target] = printable(str(name))
    return list(source)


def _painted_before(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return bool(image.info.get(MARK[0]) == MARK[1])
    except Exception:  # Pillow's decoders raise many types; each means that it is no label image of ours
        return False


def _painted(shapes: Sequence[Shape], size: tuple[int, int]) -> np.ndarray:
    """(height, width) uint8, the shapes painted in their order."""
    from transfer.annotations.masks import pixels_of

    labels = np.zeros((size[1], size[0]), dtype=np.uint8)
    for shape in shapes:
        labels[pixels_of(shape.mask, size)] = shape.value
    return labels


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listing", type=a_path, metavar="INSTANCES.json", help="a COCO JSON with masks")
    parser.add_argument("out", type=a_path, metavar="OUT", help="folder to write, one PNG an image")
    parser.add_argument("--group", action="store_true", help="paint supercategories instead of categories")


def _prepare_labels(args: argparse.Namespace) -> None:
    """Paint, and say the classes as a configuration wants them."""
    classes, notes = paint_labels(args.listing, args.out, args.group)
    for note in notes:
        print(f"note: {note}")
    print(printable(f"{args.out}: labels of {len(classes)} classes; DATASETS.CLASSES={tuple(classes)}"))


DATASET = DataSet("labels", "paint the masks of a COCO JSON as label images", _add_options, _prepare_labels)
