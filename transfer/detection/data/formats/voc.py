"""Boxes in Pascal VOC's folders: ImageSets/Main/SPLIT.txt, Annotations/*.xml and JPEGImages/*, with any class names."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.records import Reading, Record, box_inside, object_record

BENCHMARKS = {r"voc_(2007|2012)_(\w+)": r"VOC\1/\2"}
NEWER_AP = "VOC2012"  # the folder on which detectron2's Pascal VOC evaluator computes AP as from 2010 on


def read_voc_boxes(split: Split) -> Reading:
    """Read FOLDER/ImageSets/Main/SPLIT.txt, FOLDER/Annotations/*.xml and FOLDER/JPEGImages/*.

    Coordinates become 0-based edges in pixels, as in detectron2's own reader; the layout counts pixels from 1, the last
    one included. Boxes that reach outside the image are clipped, boxes without an area dropped. Objects marked
    difficult are kept.

    Raises:
        UserError: missing folder, list, annotation or image; an empty list or a repeated name; or a class that is not
            in DATASETS.CLASSES.
    """
    folder, name = split.path().parent, split.path().name
    year = 2012 if folder.name == NEWER_AP else 2007
    reading = Reading(classes=split.classes, metadata={"dirname": str(folder), "split": name, "year": year})
    names = listed_names(folder / "ImageSets" / "Main" / f"{name}.txt")
    images = {path.stem: path for path in sorted((folder / "JPEGImages").glob("*.*"))}
    absent = [stem for stem in names if stem not in images]
    if absent:
        raise UserError(f"{folder / 'JPEGImages'} lacks {len(absent)} images of split '{name}', first '{absent[0]}'.")
    for record in reading.read_images([images[stem] for stem in names]):
        annotation = folder / "Annotations" / f"{record['image_id']}.xml"
        record["annotations"] = _read_annotation(annotation, record, reading)
    return reading


def listed_names(listing: Path) -> list[str]:
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
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(
            f"{listing} names {len(repeated)} images more than once, first '{repeated[0]}': remove the repeats."
        )
    return names


def _read_annotation(path: Path, record: Record, reading: Reading) -> list[Record]:
    try:
        tree = ElementTree.parse(path)
        objects = [(_class_name(element), _corners(element)) for element in tree.iterfind("object")]
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a VOC annotation: {error}.") from error
    kept, size = [], (record["width"], record["height"])
    for name, (left, top, right, bottom) in objects:
        category = _category(name, reading.classes, path)
        sentence = f"{path.name}: {name} ({left:g}, {top:g}, {right:g}, {bottom:g})"
        box = box_inside((left - 1, top - 1, right, bottom), size)
        if right <= left or bottom <= top or box is None:
            reading.dropped.append(sentence)
            continue
        if left < 0 or top < 0 or right > size[0] or bottom > size[1]:  # 0 itself is a common off-by-one, not a fault
            reading.clipped.append(sentence)
        kept.append(object_record(category, box))
    return kept


def _category(name: str, classes: Sequence[str], path: Path) -> int:
    if name not in classes:
        raise UserError(f"{path} holds class '{name}', which is not in DATASETS.CLASSES ({', '.join(classes)}).")
    return classes.index(name)


def _class_name(element: ElementTree.Element) -> str:
    name = element.findtext("name")
    if name is None:
        raise ValueError("an object has no name")
    return name.strip()


def _corners(element: ElementTree.Element) -> tuple[float, float, float, float]:
    texts = [element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    left, top, right, bottom = (float(text if text is not None else "") for text in texts)
    return left, top, right, bottom


FORMAT = Format(
    name="voc",
    help="FOLDER/SPLIT or SPLIT: ImageSets/Main/SPLIT.txt, Annotations/*.xml, JPEGImages/*",
    read=read_voc_boxes,
    evaluators=("voc", "coco"),
    benchmarks=BENCHMARKS,
    protocol={"coco": "COCO-style AP on VOC layout"},
)
