"""A folder of images and a folder of label images of the same names, as semantic segmentation reads them."""

from __future__ import annotations

from pathlib import Path

from pretrain.runtime.errors import UserError
from transfer.detection.data.formats.base import SEMANTIC, Format, Split
from transfer.detection.data.images import images_below
from transfer.detection.data.labels import read_label_pairs
from transfer.detection.data.records import Reading


def read_label_folders(split: Split) -> Reading:
    """Read every label image LABELS/**/STEM.png with its image IMAGES/**/STEM.*, at any depth, by name.

    Raises:
        UserError: a missing or empty folder, an image without labels or the reverse, or labels that do not fit.
    """
    images, labels = split.pair()
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
    pairs = [(image_paths[name], label_paths[name]) for name in sorted(image_paths)]
    return read_label_pairs(pairs, split.classes, split.ignored)


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


FORMAT = Format(
    name="folders",
    help="IMAGES:LABELS, two folders that hold the same names; labels are class indices in 8-bit PNG",
    read=read_label_folders,
    evaluators=("iou",),
    task=SEMANTIC,
    benchmarks={r"cityscapes_semantic_(train|val)": r"cityscapes/leftImg8bit/\1:cityscapes/semantic/\1"},
)
