"""Any detection folder of VOC or COCO as images that show several classes each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import printable, shortened
from transfer.annotations.coco_json import read_coco_json
from transfer.annotations.images import images_by_stem, only_one
from transfer.annotations.masks import number
from transfer.annotations.voc_xml import Marked, listed_names, read_annotation
from transfer.datasets.labelled import Labelled
from transfer.datasets.splits import Splits
from transfer.features.rows import Features

PRESENT, ABSENT, DIFFICULT = 1, 0, -1
USUAL = {"train": ("trainval", "train"), "test": ("test", "val")}  # splits, the first that is there
SHOWN = 5  # classes that a message names


@dataclass(frozen=True)
class Part:
    """A split as it was read: the folder of its images, and for each image what each class that it names is."""

    folder: Path
    images: Mapping[Path, Mapping[str, int]]
    classes: frozenset[str]


def open_multilabel(root: str | Path, splits: Splits) -> Labelled:
    """The train and test images of a detection folder, with `Labelled.marks`.

    As in VOC's devkit, a class of which an image shows difficult objects alone is neither there nor absent. In COCO an
    annotation counts where its area is above 0 and its box larger than one pixel, crowds too (Goyal et al., 2019).
    Classes are left out that are in, or absent from, fewer than `splits.least` images of train, or in none of test.

    Raises:
        UserError: no such folder or split, annotations that cannot be read, a class of test that train does not have,
            or no class that is left.
    """
    root = Path(root)
    read = {"voc": _voc, "coco": _coco}[_layout(root, splits.layout)]
    parts = [read(root, _split(root, read is _voc, part, asked)) for part, asked in _asked(splits).items()]
    train, test = parts
    names = sorted(train.classes)
    foreign = sorted(test.classes - train.classes)
    if foreign:
        raise UserError(
            f"{root}: the test split has {len(foreign)} classes that the train split has not, such as "
            f"'{shortened(foreign[0])}': give splits.train and splits.test of one data set."
        )
    known, truth = (_matrix(part.images.values(), names) for part in parts)
    kept = _usable(known, truth, splits.least)
    if not kept.any():
        raise UserError(
            f"{root}: none of the {len(names)} classes is in {splits.least} images of train, absent from as many and "
            "in one of test: lower splits.least, or give other splits."
        )
    left_out = [name for name, keep in zip(names, kept, strict=True) if not keep]
    classes = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    told = f", {len(left_out)} classes left out ({_first(left_out)})" if left_out else ""
    sources = (_source(train, classes, f"train{told}"), _source(test, classes, "test"))
    return Labelled(printable(root.resolve().name), *sources, marks=(known[:, kept], truth[:, kept]))


def marks_of(rows: Features, source: ImageSource, marks: np.ndarray) -> np.ndarray:
    """int8 (n, classes) of the n images that could be read, in the order of their rows.

    Raises:
        UserError: none of the images that show a class could be read.
    """
    place = {source.key(index): index for index in range(len(source))}
    found = marks[[place[name] for name in rows.names]]
    lost = np.flatnonzero((marks == PRESENT).any(0) & ~(found == PRESENT).any(0))
    if len(lost):
        raise UserError(
            f"none of the images of {source.root} that show '{source.classes[lost[0]]}' can be decoded: mend them, or "
            "leave the class out by a higher splits.least."
        )
    return found


def _asked(splits: Splits) -> dict[str, str]:
    return {"train": splits.train, "test": splits.test}


def _layout(root: Path, asked: str) -> str:
    if not root.is_dir():
        raise UserError(f"{root} is no folder: give the folder of a detection data set in VOC's or COCO's layout.")
    found = [name for name, place in (("voc", "ImageSets/Main"), ("coco", "annotations")) if (root / place).is_dir()]
    if asked != "auto":
        return asked
    if len(found) != 1:
        has = "both ImageSets/Main and annotations" if found else "neither ImageSets/Main (VOC) nor annotations (COCO)"
        raise UserError(f"{root} has {has}: give the folder that holds one of them, or splits.layout=voc or coco.")
    return found[0]


def _split(root: Path, voc: bool, part: str, asked: str) -> str:
    """The name of a split: what is asked for, or what is usual."""
    if asked:
        return asked
    if voc:
        there = sorted(path.stem for path in (root / "ImageSets" / "Main").glob("*.txt"))
        usual = [name for name in USUAL[part] if name in there][:1]
    else:
        pattern = "instances_*.json"
        there = sorted(path.stem.removeprefix("instances_") for path in (root / "annotations").glob(pattern))
        start = USUAL[part][-1]
        usual = [name for name in there if name.startswith(start)]
    if len(usual) != 1:
        raise UserError(
            f"{root} does not tell its {part} split (it has {_first(there) or 'none'}): give splits.{part}."
        )
    return usual[0]


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shortened(name, 40) for name in names[:SHOWN]) + more


def _voc(root: Path, split: str) -> Part:
    folder, name = (root / split).parent, (root / split).name
    listing, candidates = folder / "ImageSets" / "Main" / f"{name}.txt", images_by_stem(folder / "JPEGImages")
    if not listing.is_file():
        raise UserError(f"{listing} does not exist: give splits.train and splits.test of lists in that folder.")
    images = {}
    for stem in listed_names(listing, candidates):
        image = only_one(stem, candidates.get(stem, []), listing)
        annotation = read_annotation(path_inside(folder / "Annotations", f"{stem}.xml", listing, True))
        images[image] = _of_objects(annotation.objects)
    return Part(folder / "JPEGImages", images, frozenset(name for shown in images.values() for name in shown))


def _of_objects(objects: Sequence[Marked]) -> dict[str, int]:
    """PRESENT for a class with an object that is not difficult, DIFFICULT for one whose objects all are."""
    shown: dict[str, int] = {}
    for one in objects:
        shown[one.name] = max(shown.get(one.name, DIFFICULT), DIFFICULT if one.difficult else PRESENT)
    return shown


def _coco(root: Path, split: str) -> Part:
    listing, folder = root / "annotations" / f"instances_{split}.json", root / split
    if not listing.is_file():
        raise UserError(f"{listing} does not exist: give splits.train and splits.test of files in that folder.")
    content = read_coco_json(listing)
    names = {category["id"]: category["name"] for category in content["categories"]}
    images = {one["id"]: path_inside(folder, one.get("file_name"), listing, True) for one in content["images"]}
    absent = [path for path in images.values() if not path.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images of {listing} are missing, first {absent[0]}.")
    shown: dict[Path, dict[str, int]] = {path: {} for _, path in sorted(images.items())}
    for one in content["annotations"]:
        if one["image_id"] in images and _counts(one):
            shown[images[one["image_id"]]][names[one["category_id"]]] = PRESENT
    return Part(folder, shown, frozenset(names.values()))


def _counts(annotation: Mapping[str, object]) -> bool:
    """Whether an annotation shows its class: its area is above 0, and its box is larger than a pixel."""
    box = annotation.get("bbox")
    sides = [number(side) for side in box[2:]] if isinstance(box, list) and len(box) == 4 else []
    large = bool(sides) and all(side is not None and side > 1 for side in sides)
    return large and (number(annotation.get("area")) or 0) > 0


def _matrix(images: Iterable[Mapping[str, int]], names: Sequence[str]) -> np.ndarray:
    return np.array([[shown.get(name, ABSENT) for name in names] for shown in images], dtype=np.int8)


def _usable(train: np.ndarray, test: np.ndarray, least: int) -> np.ndarray:
    """bool (classes,): whether a class can be learnt and measured."""
    there, absent = (train == PRESENT).sum(0), (train == ABSENT).sum(0)
    usable: np.ndarray = (np.minimum(there, absent) >= least) & (test == PRESENT).any(0)
    return usable


def _source(part: Part, classes: tuple[str, ...], about: str) -> ImageSource:
    paths = tuple(part.images)
    return ImageSource(
        part.folder,
        paths,
        (0,) * len(paths),
        classes,
        about=f"{part.folder}: {len(paths)} images of {len(classes)} classes, several an image, of {about}",
        kind="detection",
    )
