"""Boxes in Pascal VOC's folders: ImageSets/Main/SPLIT.txt, Annotations/*.xml and JPEGImages/*, with any class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import shortened
from transfer.annotations.images import images_by_stem, only_one
from transfer.annotations.voc_xml import Annotation, listed_names, read_annotation
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.records import Reading, Record, box_inside, object_record

BENCHMARKS = {r"voc_(2007|2012)_(\w+)": r"VOC\1/\2"}
NEWER_AP = "VOC2012"  # the folder on which detectron2's Pascal VOC evaluator computes AP as from 2010 on
SAME = 1  # digits behind the point in which two boxes of one class are the same object


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
