"""Images with a class at each pixel, in the layouts of ADE20K, Cityscapes, Pascal VOC, or two folders of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from transfer.annotations.images import EXIF_ORIENTATION, QUARTER_TURNS
from transfer.annotations.labels import Pairs, folder_pairs, label_image, present_labels, voc_pairs
from transfer.datasets.labelled import Labelled
from transfer.datasets.splits import LabelSplits

IGNORED = 255


@dataclass(frozen=True)
class Layout:
    """Where a data set has its label images.

    mark: a path that tells it. train, test: its splits. read: (root, split) to pairs. classes: as published, 0 where
    the files say. first: the label of the first class; lower ones are ignored.
    """

    mark: str
    train: str
    test: str
    read: Callable[[Path, str], Pairs]
    classes: int = 0
    first: int = 0


def _two_folders(root: Path, split: str) -> Pairs:
    """IMAGES:LABELS."""
    images, colon, labels = split.partition(":")
    if not colon:
        raise UserError(f"split '{split}' is not of the form IMAGES:LABELS: name two folders below {root}.")
    return folder_pairs(root / images, root / labels)


def _ade20k(root: Path, split: str) -> Pairs:
    return folder_pairs(root / "images" / split, root / "annotations" / split)


def _cityscapes(root: Path, split: str) -> Pairs:
    return folder_pairs(root / "leftImg8bit" / split, root / "semantic" / split)


LAYOUTS = {
    "voc": Layout("ImageSets/Segmentation", "train", "val", voc_pairs, classes=21),
    "ade20k": Layout("annotations/training", "training", "validation", _ade20k, classes=150, first=1),
    "cityscapes": Layout("leftImg8bit", "train", "val", _cityscapes, classes=19),
    "folders": Layout("", "", "", _two_folders),
}


def open_semantic(root: Path, splits: LabelSplits) -> Labelled:
    """The train and test images of a folder, with `Labelled.label_images`; labels are class indices after `shifted`.

    Raises:
        UserError: no such layout or split, label images of another kind or size, or labels that no class has.
    """
    name = _layout(root, splits)
    layout, parts = LAYOUTS[name], []
    for part, asked, usual in (("train", splits.train, LAYOUTS[name].train), ("test", splits.test, LAYOUTS[name].test)):
        if not asked and not usual:
            raise UserError(f"labels.{part} is unset: give IMAGES:LABELS, two folders below {root}.")
        pairs = layout.read(root, asked or usual)
        parts.append((pairs, _largest(pairs, layout)))
    count = splits.classes or layout.classes or parts[0][1] + 1
    for pairs, largest in parts:
        if largest >= count:
            raise UserError(
                f"a label image of {root} ({pairs[0][1].parent}) has class {largest}, but there are {count} classes "
                f"(0 to {count - 1}): give labels.classes, or mend the labels."
            )
    if count < 2:
        raise UserError(f"the label images of {root} hold a single class: there is nothing to tell apart.")
    classes = tuple(f"class {label}" for label in range(count))
    sources = [_source(root, pairs, classes, part) for (pairs, _), part in zip(parts, ("train", "test"), strict=True)]
    train, test = sources
    maps = [
        {source.key(at): label for at, (_, label) in enumerate(pairs)}
        for source, (pairs, _) in zip(sources, parts, strict=True)
    ]
    return Labelled(
        printable(root.resolve().name), train, test, label_images=(maps[0], maps[1]), first_label=layout.first
    )


def shifted(path: Path, first: int) -> np.ndarray:
    """The class indices (H, W) of a label image whose first class has the label `first`, elsewhere IGNORED."""
    labels = label_image(path).astype(np.int64)
    return np.where((labels == IGNORED) | (labels < first), IGNORED, labels - first).astype(np.uint8)


def _layout(root: Path, splits: LabelSplits) -> str:
    if not root.is_dir():
        raise UserError(f"{root} is no folder: give the folder of images with label images.")
    if splits.layout != "auto":
        return splits.layout
    if ":" in splits.train:
        return "folders"
    found = [name for name, layout in LAYOUTS.items() if layout.mark and (root / layout.mark).is_dir()]
    if len(found) != 1:
        has = " and ".join(found) or "none"
        raise UserError(
            f"{root} does not tell its layout (found: {has}): give labels.layout, or labels.train and labels.test as "
            "IMAGES:LABELS."
        )
    return found[0]


def _largest(pairs: Pairs, layout: Layout) -> int:
    """The largest class index in label images, each of which is decoded once and held against its image."""
    with ThreadPoolExecutor() as pool:
        return max(pool.map(lambda pair: _checked(pair[0], pair[1], layout.first), pairs), default=-1)


def _checked(image: Path, label: Path, first: int) -> int:
    if not image.is_file():
        raise UserError(f"{label} has no image {image}: complete the images.")
    size, present = present_labels(label)
    seen = _size(image)
    if seen not in (None, size):
        raise UserError(f"{label} is {size}, but its image {image} is {seen}: make them equal.")
    return max((value - first for value in present if value != IGNORED), default=-1)


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height as an image is seen, by its header; None where that cannot be read, which is told later."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(EXIF_ORIENTATION) in QUARTER_TURNS
            return (image.height, image.width) if turned else image.size
    except Exception:  # Pillow's decoders raise many types
        return None


def _source(root: Path, pairs: Pairs, classes: Sequence[str], part: str) -> ImageSource:
    paths = tuple(image for image, _ in pairs)
    about = f"{root}: {len(paths)} images of {part} with label images of {len(classes)} classes"
    return ImageSource(root, paths, (0,) * len(paths), tuple(classes), about=about, kind="semantic")
