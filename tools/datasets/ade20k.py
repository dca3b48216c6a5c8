"""ADE20K's scene parsing set (Zhou et al., 2017): 150 classes, whose label images become what detectron2 reads.

Published label images have 0 where no class is, and 1 to 150. Here, as in detectron2's annotations_detectron2/, the
classes are 0 to 149 and 255 is ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

from pretrain.data.folders.walk import is_hidden
from pretrain.runtime.processes.pool import mapped
from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset, below
from tools.datasets.unpacking.completeness import missing_or_short, wrong_count
from tools.datasets.unpacking.relabelling import write_relabelled

FOLDER = "ADEChallengeData2016"
ARCHIVE = f"{FOLDER}.zip"
DIGEST = "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7"  # GluonCV, scripts/datasets/ade20k.py
COUNTS = {"training": 20_210, "validation": 2_000}
CLASSES = 150
INDEX = {label: label - 1 for label in range(1, CLASSES + 1)}  # of each class by its published label
PATIENCE = 30.0  # minutes that the next image may take


def _names(folder: Path, split: str) -> list[str]:
    """Names of the images of a split, without their endings."""
    return sorted(path.stem for path in (folder / "images" / split).glob("*.jpg") if not is_hidden(path.name))


def faults(root: Path) -> list[str]:
    """What is missing or cut short, by name; the derived files included."""
    folder, sentences = root / FOLDER, []
    for split, count in COUNTS.items():
        names = _names(folder, split)
        sentences += wrong_count(len(names), count, f"{folder / 'images' / split} holds images")
        sentences += missing_or_short(folder / "images" / split, [f"{name}.jpg" for name in names], "images")
        for labels in ("annotations", "annotations_detectron2"):
            sentences += missing_or_short(folder / labels / split, [f"{name}.png" for name in names], "label images")
    return sentences


def derive(root: Path) -> None:
    """Write annotations_detectron2/SPLIT/*.png for the label images that are there; files that are there stay."""
    from pretrain.runtime.processes.watch import Patience, watched  # imports torch, for which --help need not wait

    for split in COUNTS:
        published = root / FOLDER / "annotations" / split
        names = [f"{name}.png" for name in _names(root / FOLDER, split)]
        sources = [published / name for name in names if (published / name).is_file()]
        targets = [root / FOLDER / "annotations_detectron2" / split / path.name for path in sources]
        patience, workers = Patience(PATIENCE, str(published), ""), os.cpu_count() or 1
        written = list(watched(mapped(write_labels, workers, sources, targets), patience))
        if written:
            print(f"{targets[0].parent}: {len(written)} label images of {CLASSES} classes")


def write_labels(source: Path, target: Path) -> None:
    """Write one label image as detectron2 reads it.

    Raises:
        UserError: the source cannot be read, or holds a label above 150.
    """
    write_relabelled(source, target, INDEX, ARCHIVE, known=CLASSES + 1)


def archives() -> tuple[Archive, ...]:
    """The archive of the scene parsing challenge of 2016."""
    return (Archive(ARCHIVE, DIGEST, below(f"{FOLDER}/", f"{FOLDER}/")),)


BENCHMARK = Benchmark("ade20k", archives, faults, finish=derive)
DATASET = as_dataset(BENCHMARK)
