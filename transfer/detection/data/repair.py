"""Annotations made such as detectron2 trains on and every evaluator measures, whatever format they come from.

What training sees is what evaluation sees: both get the records that leave this file (see truth.py). Each change is
named in the reading, so that it is counted and told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from transfer.annotations.masks import area_of, checked_mask, number
from transfer.detection.data.records import Reading, Record, box_inside, size_of

ROUNDING = 1.0  # pixels that a box may reach out of its image before it is worth a word
HALF_PIXEL = 0.5  # from COCO's index of a keypoint's pixel to the pixel's middle, as detectron2 counts
VISIBILITIES = (0, 1, 2)  # not labelled, hidden, visible


def repair_annotations(reading: Reading, kinds: Sequence[str], evaluated: bool) -> None:
    """Check and mend every annotation of a split, in place.

    Masks and keypoints that nobody asks for are taken away, so that a damaged one does no harm.

    Args:
        reading: the split.
        kinds: what is trained or measured: "bbox", "segm", "keypoints".
        evaluated: whether the split is measured on, where a mask without a pixel could never be found.

    Raises:
        UserError: a box, class, mask or keypoints that cannot be what was meant.
    """
    points = len(reading.metadata.get("keypoint_names", ()))
    for record in reading.records:
        kept = []
        for annotation in record["annotations"]:
            whole = _repair_box(annotation, record, reading)
            if whole and "segm" in kinds:
                whole = _repair_mask(annotation, record, reading, evaluated)
            if whole and "keypoints" in kinds and points:
                _repair_keypoints(annotation, record, reading, points)
            for key, kind in (("segmentation", "segm"), ("keypoints", "keypoints")):
                if kind not in kinds:
                    annotation.pop(key, None)
            kept += [annotation] * whole
        record["annotations"] = kept


def said(annotation: Record, record: Record) -> str:
    """An annotation in a message."""
    of = f"annotation {shortened(annotation['id'], 50)} of " if "id" in annotation else ""
    return f"{of}image {shortened(record['image_id'], 50)}"


def _repair_box(annotation: Record, record: Record, reading: Reading) -> bool:
    """Clip a box to its image; False where nothing of it is inside."""
    from detectron2.structures import BoxMode

    box: Any = annotation["bbox"]
    if len(box) != 4 or any(number(side) is None for side in box):
        raise UserError(
            f"the box of {said(annotation, record)} is {shortened(str(box), 200)}, not four finite numbers."
        )
    if not 0 <= annotation["category_id"] < len(reading.classes):
        raise UserError(
            f"{said(annotation, record)} has class {annotation['category_id']}, but there are {len(reading.classes)}."
        )
    mode = annotation["bbox_mode"]
    left, top, right, bottom = BoxMode.convert(list(map(float, box)), mode, BoxMode.XYXY_ABS)
    width, height = size_of(record)
    sentence = f"image {shortened(record['image_id'], 50)}: {shortened(str(box), 200)}"
    inside = box_inside((left, top, right, bottom), (width, height))
    if inside is None:
        reading.dropped.append(sentence)
        return False
    if min(left, top) < -ROUNDING or right > width + ROUNDING or bottom > height + ROUNDING:
        reading.clipped.append(sentence)
        annotation["bbox"] = BoxMode.convert(list(inside), BoxMode.XYXY_ABS, mode)
    return True


def _repair_mask(annotation: Record, record: Record, reading: Reading, evaluated: bool) -> bool:
    """Check a mask; False where it had parts of which none can be used, or where no pixel of it could be found."""
    size = size_of(record)
    try:
        mask, parts = checked_mask(annotation.get("segmentation"), size)
    except ValueError as error:
        raise UserError(
            f"{said(annotation, record)} has a mask that {error}: correct it, or set MODEL.MASK_ON=False."
        ) from error
    reading.polygons += [said(annotation, record)] * parts
    if mask is None and not parts:
        annotation.pop("segmentation", None)  # missing altogether: the task says so of all of them
        return True
    if mask is None or (evaluated and not area_of(mask, size)):
        reading.maskless.append(said(annotation, record))
        return False
    annotation["segmentation"] = mask
    return True


def _repair_keypoints(annotation: Record, record: Record, reading: Reading, points: int) -> None:
    """Check keypoints, give an object without any such as are not labelled, and count from the pixels' middles."""
    given = annotation.get("keypoints")
    if not given:
        reading.pointless.append(said(annotation, record))
        annotation["keypoints"] = [0.0] * (3 * points)
        return
    values = [number(value) for value in given] if isinstance(given, list) else []
    if len(values) != 3 * points or any(value is None for value in values):
        raise UserError(
            f"the keypoints of {said(annotation, record)} are not {3 * points} finite numbers, three for each of the "
            f"{points} keypoints that the categories name: correct them."
        )
    seen = []
    for across, down, visibility in zip(*[iter(values)] * 3, strict=True):
        if visibility not in VISIBILITIES:
            raise UserError(f"a keypoint of {said(annotation, record)} has the visibility {visibility}, not 0, 1 or 2.")
        across, down = across + HALF_PIXEL, down + HALF_PIXEL
        if visibility and not (0 <= across <= record["width"] and 0 <= down <= record["height"]):
            reading.outside.append(said(annotation, record))
            across = down = HALF_PIXEL
            visibility = 0
        seen += [across, down, int(visibility)]
    annotation["keypoints"] = seen
