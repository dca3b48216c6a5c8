"""Label images: a class index at each pixel, in a palette or in grey, read as it is, and found beside its image.

detectron2 would convert a palette, such as that of Pascal VOC, to the brightness of its colours, and train on those
without a word. So labels are never converted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from transfer.annotations.images import images_below, images_by_stem, only_one
from transfer.annotations.masks import Size
from transfer.annotations.voc_xml import listed_names

LABEL_FOLDERS = ("SegmentationClassAug", "SegmentationClass")  # with SBD's annotations, and without
Pairs = list[tuple[Path, Path]]  # images with their label images


def label_image(path: str | Path) -> np.ndarray:
    """The class indices (H, W), uint8, of a palette or grey image.

    Raises:
        ValueError: an image of another kind.
    """
    with _opened(path) as image:
        return np.array(image)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"its mode is {image.mode}, not a palette or grey of 8 bits")
        yield image


def checked_labels(pairs: Pairs, classes: Sequence[str], ignored: int) -> list[tuple[Size, bool]]:
    """Width and height of each pair's label image, which is decoded once, and whether it holds any class.

    Args:
        pairs: (image, label image).
        classes: names in the order of the labels.
        ignored: the label that no class has.

    Raises:
        UserError: a missing image, or a label image of another kind or with foreign labels.
    """
    absent = [image for image, _ in pairs if not image.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images are missing, first {absent[0]}.")
    with ThreadPoolExecutor() as pool:
        checked = partial(_check_labels, count=len(classes), ignored=ignored)
        return list(pool.map(checked, (label for _, label in pairs)))


def present_labels(path: Path) -> tuple[tuple[int, int], list[int]]:
    """Width and height of a label image, and the labels that it holds.

    Raises:
        UserError: it cannot be read, or is of another kind.
    """
    try:
        with _opened(path) as image:
            return image.size, np.flatnonzero(image.histogram()).tolist()
    except Exception as error:  # Pillow's decoders raise many types; each means the same to the user
        raise UserError(
            f"{path} cannot be read as a label image ({error}): write class indices as 8-bit PNG."
        ) from error


def _check_labels(path: Path, count: int, ignored: int) -> tuple[tuple[int, int], bool]:
    """Width and height of a label image that holds nothing but `count` classes and `ignored`; whether it holds any."""
    size, present = present_labels(path)
    foreign = [value for value in present if value >= count and value != ignored]
    if foreign:
        raise UserError(
            f"{path} holds label {foreign[0]}, but DATASETS.CLASSES lists {count} classes (0 to {count - 1}) and "
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {ignored}: correct the one or the other."
        )
    return size, any(value != ignored for value in present)


def folder_pairs(images: Path, labels: Path) -> Pairs:
    """Every label image LABELS/**/STEM.png with its image IMAGES/**/STEM.*, at any depth, by name.

    Raises:
        UserError: a missing or empty folder, or an image without labels or the reverse.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: set DATASETS.ROOT and the splits, IMAGES:LABELS, to folders.")
    image_paths, label_paths = _by_name(images), _by_name(labels)
    for has, lacks, folder, other in (
        (image_paths, label_paths, labels, images),
        (label_paths, image_paths, images, labels),
    ):
        absent = sorted(set(has) - set(lacks))
        if absent:
            raise UserError(f"{folder} lacks {len(absent)} of the images of {other}, first '{absent[0]}'.")
    if not image_paths:
        raise UserError(f"{images} holds no image: the split is empty.")
    return [(image_paths[name], label_paths[name]) for name in sorted(image_paths)]


def _by_name(folder: Path) -> dict[str, Path]:
    """The images below a folder by their path in it, without the suffix.

    Raises:
        UserError: two images of one name.
    """
    found: dict[str, Path] = {}
    for path in images_below(folder):
        other = found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if other != path:
            raise UserError(f"{other} and {path} have the same name but for the ending: remove one of them.")
    return found


def voc_pairs(folder: Path, split: str) -> Pairs:
    """The images of FOLDER/ImageSets/Segmentation/SPLIT.txt with labels in SegmentationClassAug or SegmentationClass.

    The former holds the labels of all images of the list `trainaug` (Hariharan et al., 2011) in the layout that the
    field shares. A list whose images all have labels in the latter can do without it.

    Raises:
        UserError: a missing list, folder, image or label image.
    """
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    images = images_by_stem(folder / "JPEGImages")
    names = listed_names(listing, images)
    for labels in (folder / name for name in LABEL_FOLDERS):
        label_of = {name: path_inside(labels, f"{name}.png", listing, links=True) for name in names}
        if all(path.is_file() for path in label_of.values()):
            return [(only_one(name, images.get(name, []), listing), path) for name, path in label_of.items()]
    raise UserError(
        f"the images of {listing} have no complete labels in "
        f"{' or '.join(str(folder / name) for name in LABEL_FOLDERS)}: unpack them there."
    )
