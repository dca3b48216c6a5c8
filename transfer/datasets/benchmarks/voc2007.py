"""Pascal VOC 2007 classification: every image has any of 20 classes (Everingham et al., 2010)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_lines
from pretrain.runtime.names import path_inside
from transfer.datasets.benchmark import Benchmark, Listing, Remote

PLACES = ("VOCdevkit/VOC2007", "VOC2007", ".")  # as unpacked, as prepare_data.py voc unpacks it, and the folder itself
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
MEANS = {"1": 1, "-1": 0, "0": -1}  # the devkit's marks: shown, not shown, and only hard to see, which is not judged


def read(root: Path, split: str) -> Listing:
    """One of the three splits by the devkit's lists, ImageSets/Main/CLASS_SPLIT.txt, which difficult objects follow.

    Raises:
        UserError: a list is missing, names other images than the split's own, or holds another mark.
    """
    folder = next((root / place for place in PLACES if (root / place / "ImageSets").is_dir()), root / PLACES[0])
    lists = folder / "ImageSets" / "Main"
    names = [line.strip() for line in read_lines(lists / f"{split}.txt", "a split of VOC2007") if line.strip()]
    for name in names:
        path_inside(folder, name, lists / f"{split}.txt", links=True)
    marks = np.stack([_marks(lists / f"{name}_{split}.txt", names) for name in CLASSES], axis=1)
    files = [f"JPEGImages/{name}.jpg" for name in names]
    return Listing(folder, files, list(range(len(names))), CLASSES, marks)


def _marks(path: Path, names: list[str]) -> np.ndarray:
    lines = [line.split() for line in read_lines(path, "a list of VOC2007's classes") if line.strip()]
    told = {line[0]: line[-1] for line in lines}
    if set(told) != set(names):
        other = sorted(set(told) ^ set(names))[0]
        raise UserError(f"{path} lists other images than its split, first {other}: unpack VOC2007 again.")
    if strange := next((name for name in names if told[name] not in MEANS), None):
        raise UserError(f"{path} marks {strange} with '{told[strange]}', which is none of 1, 0 and -1.")
    return np.array([MEANS[told[name]] for name in names], np.int8)


def files() -> tuple[Remote, ...]:
    """The two archives, with torchvision's checksums."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    entries = (DATASET_YEAR_DICT[key] for key in ("2007", "2007-test"))
    return tuple(Remote(one["url"], f"md5:{one['md5']}", lambda name: name) for one in entries)


BENCHMARKS = (
    Benchmark(
        "voc2007",
        "VOC2007",
        PLACES[0],
        classes=20,
        counts={"train": 2_501, "val": 2_510, "test": 4_952},
        metric="mAP 11-point",
        read=read,
        files=files,
        also=PLACES[1:2],
    ),
)
