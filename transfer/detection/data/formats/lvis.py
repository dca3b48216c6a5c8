"""Boxes and masks in LVIS' JSON on COCO's images; detectron2's own reader needs the package `lvis`, an older numpy."""

from __future__ import annotations

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from transfer.annotations.coco_json import Entry, plain_id
from transfer.detection.data.formats.base import Format, Split
from transfer.detection.data.formats.coco import read_annotation_file
from transfer.detection.data.records import Reading, Record
from transfer.detection.data.truth import OF_IMAGES


def read_lvis(split: Split) -> Reading:
    """Read JSON:FOLDER, where FOLDER holds COCO's train2017 and val2017.

    An image lies in the folder of COCO that its address ends with: FOLDER/train2017/000000000009.jpg. LVIS has no
    crowds, so `iscrowd` is not asked for.

    Raises:
        UserError: an entry of another form, a class list of an image that is none, or as
            `read_annotation_file`.
    """
    if ":" not in split.entry:
        raise UserError(f"split '{split.entry}' is not of the form JSON:FOLDER.")
    listing, images = split.pair()
    reading = read_annotation_file(listing, images, split, _name, _fields)
    reading.single.clear()
    place_of = {key: place for place, key in enumerate(reading.category_ids)}
    for record in reading.records:
        for annotation in record["annotations"]:
            annotation["iscrowd"] = 0
        for key in OF_IMAGES:
            named = [plain_id(one) for one in record[key]]
            record[key] = [place_of[one] for one in named if isinstance(one, int) and one in place_of]
            if len(record[key]) < len(named):
                raise UserError(
                    f"{listing}: {key} of image {shortened(record['image_id'], 50)} names a category that is not among "
                    "its categories: correct it."
                )
    return reading


def _name(image: Entry) -> object:
    address = image.get("coco_url")
    return "/".join(address.split("/")[-2:]) if isinstance(address, str) else address


def _fields(image: Entry) -> Record:
    """The classes that were looked for in vain, and those of which not every object is annotated."""
    lists = {key: image.get(key, []) for key in OF_IMAGES}
    wrong = next((key for key, value in lists.items() if not isinstance(value, list)), None)
    if wrong:
        raise UserError(f"{wrong} of image {shortened(image['id'], 50)} is no list of categories: correct it.")
    return lists


FORMAT = Format(
    name="lvis",
    help="JSON:FOLDER, where FOLDER holds COCO's train2017 and val2017",
    read=read_lvis,
    evaluators=("lvis",),
    holds=("masks",),
    names_classes=True,
    benchmarks={r"lvis_v1_(train|val)": r"lvis/lvis_v1_\1.json:coco"},
)
