"""Semantic segmentation: images with label images beside them, read as they are, and mapped to what a model takes.

A label image holds a class index at each pixel, in a palette or in grey. detectron2 would convert a palette, such as
that of Pascal VOC, to the brightness of its colours, and train on those silently; so labels are never converted here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from PIL import Image

from pretrain.runtime.errors import UserError
from transfer.detection.data.records import Reading, sizes_of
from transfer.detection.data.voc import names_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
GREY = 128  # of the margin around an image smaller than its crop
VOC_LABELS = ("SegmentationClassAug", "SegmentationClass")  # with SBD's annotations, and without


def labels_of(path: str | Path) -> np.ndarray:
    """The class indices (H, W), uint8, of a palette or grey image."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"its mode is {image.mode}, not a palette or grey")
        return np.array(image)


def read_voc(folder: Path, split: str, classes: Sequence[str], ignored: int) -> Reading:
    """Read FOLDER/ImageSets/Segmentation/SPLIT.txt, JPEGImages, and SegmentationClassAug or SegmentationClass.

    The former holds the labels of all images of the list `trainaug` (Hariharan et al., 2011) in the layout that the
    field shares; a list whose images all have labels in the latter can do without it.

    Raises:
        UserError: a missing list, folder, image or label image, or labels that do not fit (see `read_pairs`).
    """
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    names = names_of(listing)
    holders = [folder / name for name in VOC_LABELS if (folder / name).is_dir()]
    for holder in holders:
        if all((holder / f"{name}.png").is_file() for name in names):
            pairs = [(folder / "JPEGImages" / f"{name}.jpg", holder / f"{name}.png") for name in names]
            return _read(pairs, classes, ignored)
    raise UserError(
        f"the images of {listing} have no complete labels in {' or '.join(str(folder / name) for name in VOC_LABELS)}: "
        "unpack them there."
    )


def read_folders(pictures: Path, labels: Path, classes: Sequence[str], ignored: int) -> Reading:
    """Read every label image LABELS/**/STEM.png with its image PICTURES/**/STEM.*, at any depth, by name.

    Raises:
        UserError: a missing or empty folder, an image without labels or the reverse, or labels that do not fit.
    """
    for folder in (pictures, labels):
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: set DATASETS.ROOT and the splits, IMAGES:LABELS, to folders.")
    of_image = {_key(path, pictures): path for path in _images_below(pictures)}
    of_label = {_key(path, labels): path for path in _images_below(labels)}
    for has, lacks, folder, other in (
        (of_image, of_label, labels, pictures),
        (of_label, of_image, pictures, labels),
    ):
        absent = sorted(set(has) - set(lacks))
        if absent:
            raise UserError(f"{folder} lacks {len(absent)} of the images of {other}, first '{absent[0]}'.")
    if not of_image:
        raise UserError(f"{pictures} holds no image: the split is empty.")
    return _read([(of_image[key], of_label[key]) for key in sorted(of_image)], classes, ignored)


def _images_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _read(pairs: Sequence[tuple[Path, Path]], classes: Sequence[str], ignored: int) -> Reading:
    reading = Reading()
    absent = [picture for picture, _ in pairs if not picture.is_file()]
    if absent:
        raise UserError(f"{len(absent)} images are missing, first {absent[0]}.")
    sizes = sizes_of([picture for picture, _ in pairs])
    with ThreadPoolExecutor() as pool:
        checked = pool.map(partial(_check_labels, count=len(classes), ignored=ignored), (pair[1] for pair in pairs))
        for (picture, label), size in zip(pairs, checked, strict=True):
            if sizes[picture] is None:
                reading.skipped.append(str(picture))
                continue
            if size != sizes[picture]:
                raise UserError(f"{label} is {size}, but its image {picture} is {sizes[picture]}: make them equal.")
            record = {"file_name": str(picture), "sem_seg_file_name": str(label), "image_id": picture.stem}
            reading.records.append({**record, "width": size[0], "height": size[1]})
    return reading


def _check_labels(path: Path, count: int, ignored: int) -> tuple[int, int]:
    """(width, height) of a label image that holds nothing but the indices of `count` classes and `ignored`."""
    try:
        labels = labels_of(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{path} cannot be read as a label image ({error}): write class indices as 8-bit PNG."
        ) from error
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    foreign = [int(value) for value in present if value >= count and value != ignored]
    if foreign:
        raise UserError(
            f"{path} holds label {foreign[0]}, but DATASETS.CLASSES lists {count} classes (0 to {count - 1}) and "
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {ignored}: correct the one or the other."
        )
    return labels.shape[1], labels.shape[0]


class SemanticMapper:
    """A record to {"image" (3, H, W) uint8, "sem_seg" (H, W) int64 in training, ...}; crops smaller images padded."""

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        changes = detection_utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            size, ignored = tuple(cfg.INPUT.CROP.SIZE), cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
            changes.insert(1, T.FixedSizeCrop(size, pad=True, pad_value=GREY, seg_pad_value=ignored))
        self._changes = T.AugmentationList(changes)
        self._format, self._is_train = cfg.INPUT.FORMAT, is_train

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        record = copy.deepcopy(record)
        labels = labels_of(record["sem_seg_file_name"]) if self._is_train else None
        changed = T.AugInput(detection_utils.read_image(record["file_name"], self._format), sem_seg=labels)
        self._changes(changed)
        record["image"] = torch.from_numpy(np.ascontiguousarray(changed.image.transpose(2, 0, 1)))
        if labels is not None:
            record["sem_seg"] = torch.from_numpy(changed.sem_seg.astype(np.int64))
        return record
