"""Reading one split of a data set in Pascal VOC layout, with class names of its own, for detectron2."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from pretrain.runtime.errors import UserError
from transfer.detection.data.records import Reading, sizes_of


def read_split(folder: Path, split: str, classes: Sequence[str]) -> Reading:
    """Read FOLDER/ImageSets/Main/SPLIT.txt, FOLDER/Annotations/*.xml and FOLDER/JPEGImages/*.

    Coordinates become 0-based edges in pixels (the layout counts pixels from 1, the last one included), as in
    detectron2's own reader. Boxes reaching outside the image are clipped, boxes without an area dropped; objects
    marked difficult are kept.

    Raises:
        UserError: missing folder, list, annotation or image; an empty list or a repeated name; or a class that is not
            in `classes`.
    """
    reading = Reading()
    names = names_of(folder / "ImageSets" / "Main" / f"{split}.txt")
    pictures = {path.stem: path for path in sorted((folder / "JPEGImages").glob("*.*"))}
    absent = [name for name in names if name not in pictures]
    if absent:
        raise UserError(f"{folder / 'JPEGImages'} lacks {len(absent)} images of split '{split}', first '{absent[0]}'.")
    sizes = sizes_of([pictures[name] for name in names])
    for name in names:
        if sizes[pictures[name]] is None:
            reading.skipped.append(str(pictures[name]))
            continue
        width, height = sizes[pictures[name]]
        record = {"file_name": str(pictures[name]), "image_id": name, "width": width, "height": height}
        annotation = folder / "Annotations" / f"{name}.xml"
        reading.records.append({**record, "annotations": _objects(annotation, classes, (width, height), reading)})
    return reading


def names_of(listing: Path) -> list[str]:
    """The names in one of the layout's lists, the first word of each line.

    Raises:
        UserError: a missing or empty list, or a name that stands in it twice.
    """
    if not listing.is_file():
        raise UserError(
            f"{listing} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in VOC "
            "layout."
        )
    names = [line.split()[0] for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise UserError(f"{listing} names no image: split '{listing.stem}' is empty.")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(f"{listing} names {len(twice)} images more than once, first '{twice[0]}': remove the repeats.")
    return names


def _objects(annotation: Path, classes: Sequence[str], size: tuple[int, int], reading: Reading) -> list[dict[str, Any]]:
    try:
        tree = ElementTree.parse(annotation)
        objects = [(_name(found), _corners(found)) for found in tree.iterfind("object")]
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        raise UserError(f"{annotation} cannot be read as a VOC annotation: {error}.") from error
    kept = []
    for name, (left, top, right, bottom) in objects:
        if name not in classes:
            raise UserError(
                f"{annotation} holds class '{name}', which is not in DATASETS.CLASSES ({', '.join(classes)})."
            )
        told = f"{annotation.name}: {name} ({left:g}, {top:g}, {right:g}, {bottom:g})"
        box = [max(left - 1, 0.0), max(top - 1, 0.0), min(right, size[0]), min(bottom, size[1])]
        if right <= left or bottom <= top or box[2] <= box[0] or box[3] <= box[1]:
            reading.dropped.append(told)
            continue
        if left < 0 or top < 0 or right > size[0] or bottom > size[1]:  # 0 itself is a common off-by-one, not a fault
            reading.clipped.append(told)
        kept.append({"category_id": classes.index(name), "bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "iscrowd": 0})
    return kept


def _name(found: ElementTree.Element) -> str:
    name = found.findtext("name")
    if name is None:
        raise ValueError("an object has no name")
    return name.strip()


def _corners(found: ElementTree.Element) -> tuple[float, ...]:
    return tuple(float(found.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
