"""Pascal VOC's files: the lists of ImageSets/ and the XML of Annotations/, with any class names."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_lines
from pretrain.runtime.printable import shortened
from transfer.annotations.masks import Size, number

LARGEST = 4 << 20  # bytes of one annotation; a thousand objects take half a MB


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
