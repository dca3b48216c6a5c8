"""What a JSON in COCO layout must hold: lists of entries whose ids, names and sizes fit together.

pycocotools drops repeats and strays silently, and takes an annotation with the id 0 for no match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pretrain.data.decode import MOST_PIXELS
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json
from pretrain.runtime.printable import shortened
from transfer.annotations.masks import number

LISTS = ("images", "annotations", "categories")
KIND = "a COCO instances file"
LONGEST_ID = 255  # characters; numpy gives every id the room of the longest
LARGEST_ID = 2**53
Entry = dict[str, Any]


def read_coco_json(path: Path) -> dict[str, Any]:
    """Parse a COCO or LVIS instances file and check that its parts fit together.

    Ids of images and categories become whole numbers, or stay texts. The `image_id` of an annotation of an image that
    is not listed stays as it is (see `stray_annotations`).

    Raises:
        UserError: not such a file, an id or a category's name that is given twice or cannot be one, a size that no
            image has, or an annotation of an unknown category.
    """
    content: dict[str, Any] = read_json(path, KIND)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not {KIND}: it is no object with {', '.join(LISTS)}.")
    for name in LISTS:
        if name not in content:
            raise UserError(f"{path} is not {KIND}: it lacks '{name}'.")
        if not isinstance(content[name], list) or not all(isinstance(entry, dict) for entry in content[name]):
            raise UserError(f"{path} is not {KIND}: '{name}' is no list of objects.")
    for kind in ("images", "categories"):
        _check_ids(path, kind, content[kind])
    _check_sizes(path, content["images"])
    _check_names(path, content["categories"])
    _check_annotations(path, content)
    return content


def called(annotation: Entry) -> str:
    """An annotation in a message, by its id."""
    return f"annotation {shortened(annotation.get('id'), 50)}"


def _check_ids(path: Path, kind: str, entries: list[Entry]) -> None:
    for place, entry in enumerate(entries):
        found = plain_id(entry.get("id"))
        if found is None:
            shown = shortened(entry.get("id"), 50) if "id" in entry else "missing"
            raise UserError(
                f"{path}: the id of entry {place} of its {kind} is {shown}: give it a whole number or a short text."
            )
        entry["id"] = found
    _refuse_repeats(path, kind, (entry["id"] for entry in entries))
    if len({type(entry["id"]) for entry in entries}) > 1:
        raise UserError(f"{path}: some ids of its {kind} are numbers and others texts: make them all of one kind.")


def plain_id(value: object) -> int | str | None:
    """An id as a whole number or a text, None where it can be neither."""
    if isinstance(value, str):
        return value if value and "\0" not in value and len(value) <= LONGEST_ID else None
    found = number(value)
    return int(found) if found is not None and found == int(found) and abs(found) < LARGEST_ID else None


def _refuse_repeats(path: Path, kind: str, ids: Iterable[int | str]) -> None:
    repeated = [key for key, times in Counter(ids).items() if times > 1]
    if repeated:
        first = shortened(repeated[0])
        raise UserError(
            f"{path} gives {len(repeated)} ids of its {kind} to more than one entry, first id {first}: make them "
            "unique."
        )


def _check_sizes(path: Path, images: list[Entry]) -> None:
    for image in images:
        sides = [number(image.get(side)) for side in ("width", "height")]
        whole = [int(side) for side in sides if side is not None and side == int(side) and side >= 1]
        if len(whole) < 2 or whole[0] * whole[1] > MOST_PIXELS:
            stated = " x ".join(shortened(image.get(side), 50) for side in ("width", "height"))
            raise UserError(
                f"{path} says that image {image['id']} is {stated} pixels: give width and height as whole numbers of "
                f"pixels, at most {MOST_PIXELS // 10**6} million in all."
            )
        image["width"], image["height"] = whole


def _check_names(path: Path, categories: list[Entry]) -> None:
    for category in categories:
        if not isinstance(category.get("name"), str) or not category["name"].strip():
            raise UserError(f"{path}: the name of category {category['id']} is no text: give it one.")
    names = Counter(category["name"] for category in categories)
    if any(times > 1 for times in names.values()):
        raise UserError(
            f"{path} has two categories named '{shortened(names.most_common(1)[0][0])}': give each its own name."
        )


def _check_annotations(path: Path, content: Mapping[str, Any]) -> None:
    images = {image["id"]: image["id"] for image in content["images"]}
    categories = {category["id"]: category["id"] for category in content["categories"]}
    annotations = content["annotations"]
    ids = (plain_id(annotation.get("id")) for annotation in annotations)
    _refuse_repeats(path, "annotations", (found for found in ids if found is not None))
    for annotation in annotations:
        of, kind = plain_id(annotation.get("image_id")), plain_id(annotation.get("category_id"))
        if kind not in categories:
            raise UserError(
                f"{path}: {called(annotation)} has category_id={shortened(annotation.get('category_id'), 50)}, which "
                "is not among its categories: add the category or remove the annotation."
            )
        if of is None:
            raise UserError(f"{path}: {called(annotation)} does not say its image: give it an image_id.")
        annotation["category_id"], annotation["image_id"] = categories[kind], images.get(of, of)


def stray_annotations(content: Mapping[str, Any]) -> list[str]:
    """Annotations of images that are not listed; readers of the layout leave them out."""
    listed = {image["id"] for image in content["images"]}
    return [
        f"{called(annotation)} of image {shortened(annotation['image_id'], 50)}"
        for annotation in content["annotations"]
        if annotation["image_id"] not in listed
    ]
