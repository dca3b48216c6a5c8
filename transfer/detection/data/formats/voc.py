"""Boxes in Pascal VOC's folders: ImageSets/Main/SPLIT.txt, Annotations/*.xml and JPEGImages/*, with any class names."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_lines
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import shortened
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.images import images_by_stem, only_one
from transfer.detection.data.masks import Size, number
from transfer.detection.data.records import Reading, Record, box_inside, object_record

BENCHMARKS = {r"voc_(2007|2012)_(\w+)": r"VOC\1/\2"}
NEWER_AP = "VOC2012"  # the folder on which detectron2's Pascal VOC evaluator computes AP as from 2010 on
LARGEST = 4 << 20  # bytes of one annotation; a thousand objects take half a MB
SAME = 1  # digits behind the point in which two boxes of one class are the same object


@dataclass(frozen=True)
class Marked:
    """An object as it is annotated: class, (xmin, ymin, xmax, ymax) counted from 1, and whether it is difficult."""

    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """One XML. size: (width, height) where it is stated. file: the name of the image, "" where it is not stated."""

    path: Path
    size: Size | None
    file: str
    objects: list[Marked]


def read_voc_boxes(split: Split) -> Reading:
    """Read FOLDER/ImageSets/Main/SPLIT.txt, FOLDER/Annotations/*.xml and FOLDER/JPEGImages/*.

    Coordinates become 0-based edges in pixels, as in detectron2's own reader; the layout counts pixels from 1, the last
    one included. Boxes that reach outside the image are clipped, boxes without an area dropped, objects that are
    annotated twice counted once. Objects marked difficult are kept, and marked so for Pascal VOC's own evaluation.

    Raises:
        UserError: missing folder, list, annotation or image; an empty list or a repeated name; a size unlike the
            image's; or a class that is not in DATASETS.CLASSES.
    """
    folder, name = split.path().parent, split.path().name
    year = 2012 if folder.name == NEWER_AP else 2007
    reading = Reading(classes=split.classes, metadata={"year": year})
    listing = folder / "ImageSets" / "Main" / f"{name}.txt"
    candidates = images_by_stem(folder / "JPEGImages")
    names = listed_names(listing, candidates)
    absent = [stem for stem in names if stem not in candidates]
    if absent:
        raise UserError(
            f"{folder / 'JPEGImages'} lacks {len(absent)} images of split '{name}', first '{shortened(absent[0])}'."
        )
    annotations = {
        stem: read_annotation(path_inside(folder / "Annotations", f"{stem}.xml", listing, True)) for stem in names
    }
    images = []
    for stem in names:
        stated = [path for path in candidates[stem] if path.name == annotations[stem].file]
        images.append(only_one(stem, stated or candidates[stem], listing))
    for record in reading.read_images(images):
        record["annotations"] = _boxes(annotations[record["image_id"]], record, reading)
    return reading


def listed_names(listing: Path, known: Mapping[str, object]) -> list[str]:
    """The names in one of the layout's lists: a line, or the first word of one that is no known name as a whole.

    Raises:
        UserError: a missing, unreadable or empty list, or a name that stands in it twice.
    """
    if not listing.is_file():
        raise UserError(
            f"{listing} does not exist: set DATASETS.ROOT (or DETECTRON2_DATASETS) and the splits to a data set in VOC "
            "layout."
        )
    lines = [line.strip() for line in read_lines(listing, "a list of images") if line.strip()]
    names = [line if line in known else line.split()[0] for line in lines]
    if not names:
        raise UserError(f"{listing} names no image: split '{listing.stem}' is empty.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        first = shortened(repeated[0])
        raise UserError(f"{listing} names {len(repeated)} images more than once, first '{first}': remove the repeats.")
    return names


def read_annotation(path: Path) -> Annotation:
    """Parse one XML.

    Raises:
        UserError: it is missing, no XML, no annotation of this layout, or an object lacks a class or a box.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        root = ElementTree.parse(path).getroot()
        if root.tag != "annotation":
            raise ValueError(f"its outermost element is <{shortened(root.tag)}>, not <annotation>")
        objects = [_marked(element) for element in root.iterfind("object")]
        return Annotation(path, _stated_size(root), (root.findtext("filename") or "").strip(), objects)
    except (OSError, ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a VOC annotation: {error}.") from error


def _marked(element: ElementTree.Element) -> Marked:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    corners = tuple(_number(element, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
    flag = (element.findtext("difficult") or "").strip().lower()
    if flag not in ("", "0", "1", "false", "true"):
        raise ValueError(f"difficult is '{shortened(flag)}', not 0 or 1")
    return Marked(name, corners, flag in ("1", "true"))


def _number(element: ElementTree.Element, key: str) -> float:
    """The finite number in an element below another.

    Raises:
        ValueError: there is none.
    """
    text, value = element.findtext(key), None
    with contextlib.suppress(ValueError):
        value = number(float(text or ""))
    if value is None:
        raise ValueError(f"{key} of a {element.tag} is '{shortened(text, 50)}', no finite number")
    return value


def _stated_size(root: ElementTree.Element) -> Size | None:
    """Width and height in pixels; None where they are not said, which some tools write as 0."""
    if root.find("size") is None:
        return None
    width, height = (_number(root, f"size/{key}") for key in ("width", "height"))
    if width != int(width) or height != int(height):
        raise ValueError(f"its size is {width} x {height}, no whole numbers of pixels")
    return (int(width), int(height)) if width and height else None


def _boxes(annotation: Annotation, record: Record, reading: Reading) -> list[Record]:
    """The objects of an image as annotations of detectron2."""
    size = (record["width"], record["height"])
    if annotation.size not in (None, size):
        raise UserError(
            f"{annotation.path} says that its image is {annotation.size}, but {record['file_name']} is {size}: give "
            "the annotation of this image, not of one that was resized or turned."
        )
    kept: dict[tuple[object, ...], Record] = {}
    for one in annotation.objects:
        left, top, right, bottom = one.corners
        category = _category(one.name, reading.classes, annotation.path)
        sentence = f"{annotation.path.name}: {shortened(one.name)} ({left:g}, {top:g}, {right:g}, {bottom:g})"
        box = box_inside((left - 1, top - 1, right, bottom), size)
        if right <= left or bottom <= top or box is None:
            reading.dropped.append(sentence)
            continue
        if left < 0 or top < 0 or right > size[0] or bottom > size[1]:  # 0 itself is a common off-by-one, not a fault
            reading.clipped.append(sentence)
        key = (category, *(round(side, SAME) for side in box))
        if key in kept:
            reading.repeated.append(sentence)
            kept[key]["difficult"] = min(kept[key]["difficult"], int(one.difficult))
            continue
        kept[key] = object_record(category, box) | {"difficult": int(one.difficult)}
    return list(kept.values())


def _category(name: str, classes: Sequence[str], path: Path) -> int:
    if name not in classes:
        listed = shortened(", ".join(classes), 400)
        raise UserError(f"{path} holds class '{shortened(name)}', which is not in DATASETS.CLASSES ({listed}).")
    return classes.index(name)


FORMAT = Format(
    name="voc",
    help="FOLDER/SPLIT or SPLIT: ImageSets/Main/SPLIT.txt, Annotations/*.xml, JPEGImages/*",
    read=read_voc_boxes,
    evaluators=("voc", "coco"),
    benchmarks=BENCHMARKS,
    protocol={"coco": "COCO-style AP on VOC layout"},
)
