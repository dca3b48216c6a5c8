"""Cityscapes' label images as what detectors and segmenters read: COCO JSON of the instances, 19 training labels.

Values of *_gtFine_labelIds.png and *_gtFine_instanceIds.png as defined in cityscapesScripts, helpers/labels.py: an
instance has the value 1000 times its label plus a number; a group that could not be told apart has the bare label.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.folders.walk import is_hidden
from pretrain.runtime.files import write_json
from pretrain.runtime.processes.pool import mapped
from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset, below
from tools.datasets.unpacking.completeness import missing_or_short, wrong_count
from tools.datasets.unpacking.relabelling import label_values, write_relabelled

COUNTS = {"train": 2_975, "val": 500}
THINGS = {24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"}
TRAIN_LABELS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # label of index 0, 1, ...
GROUP = 1000
LABEL_ARCHIVE = "gtFine_trainvaltest.zip"
PATIENCE = 30.0  # minutes that the next image may take
PICTURE, INSTANCES, LABELS = "_leftImg8bit.png", "_gtFine_instanceIds.png", "_gtFine_labelIds.png"


def _names(folder: Path, split: str) -> list[str]:
    """CITY/STEM of the images of a split, without the layout's endings."""
    pictures = folder / "leftImg8bit" / split
    found = (path for path in pictures.glob(f"*/*{PICTURE}") if not is_hidden(path.name))
    return sorted(path.relative_to(pictures).as_posix()[: -len(PICTURE)] for path in found)


def faults(root: Path) -> list[str]:
    """What is missing or cut short, by name; the derived files included."""
    folder, sentences = root / "cityscapes", []
    for split, count in COUNTS.items():
        names = _names(folder, split)
        sentences += wrong_count(len(names), count, f"{folder / 'leftImg8bit' / split} holds images")
        sentences += missing_or_short(folder / "leftImg8bit" / split, [f"{name}{PICTURE}" for name in names], "images")
        for ending in (INSTANCES, LABELS):
            sentences += missing_or_short(
                folder / "gtFine" / split, [f"{name}{ending}" for name in names], "label images"
            )
    return sentences


def derive(root: Path) -> None:
    """Write annotations/instances_SPLIT.json and semantic/SPLIT/CITY/*_leftImg8bit.png for the splits that are there.

    Files that are there already stay. A split that lacks a label image is left to `faults`, which names it: a JSON of
    the others would be taken for all of them.
    """
    from pretrain.runtime.processes.watch import Patience, watched  # imports torch, for which --help need not wait

    folder = root / "cityscapes"
    for split in COUNTS:
        truth = folder / "gtFine" / split
        names = _names(folder, split)
        complete = all((truth / f"{name}{ending}").is_file() for name in names for ending in (INSTANCES, LABELS))
        listing = folder / "annotations" / f"instances_{split}.json"
        if not names or not complete or listing.is_file():
            continue
        sources = [truth / f"{name}{LABELS}" for name in names]
        targets = [folder / "semantic" / split / f"{name}{PICTURE}" for name in names]
        patience, workers = Patience(PATIENCE, str(truth), ""), os.cpu_count() or 1
        images = [truth / f"{name}{INSTANCES}" for name in names]
        found = list(watched(mapped(instances_of, workers, images), patience))
        list(watched(mapped(write_train_labels, workers, sources, targets), patience))
        write_json(listing, as_coco([f"{name}{PICTURE}" for name in names], found))  # last: it says that all is done
        print(f"{listing}: {sum(len(objects) for _, objects in found)} instances on {len(names)} images")


def instances_of(path: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """(width, height) of an instance image, and its objects as COCO annotations with run-length masks.

    Raises:
        UserError: the file cannot be read.
    """
    import pycocotools.mask

    values = label_values(path, LABEL_ARCHIVE).astype(np.int64)
    found = []
    for value in np.unique(values):
        label = int(value) // GROUP if value >= GROUP else int(value)
        if label not in THINGS:
            continue
        run_lengths = pycocotools.mask.encode(np.asfortranarray(values == value, dtype=np.uint8))
        box, area = pycocotools.mask.toBbox(run_lengths).tolist(), float(pycocotools.mask.area(run_lengths))
        run_lengths["counts"] = run_lengths["counts"].decode("ascii")
        kind = list(THINGS).index(label) + 1
        crowd = int(value < GROUP)
        found.append({"category_id": kind, "bbox": box, "area": area, "iscrowd": crowd, "segmentation": run_lengths})
    return (values.shape[1], values.shape[0]), found


def as_coco(names: list[str], found: list[tuple[tuple[int, int], list[dict[str, Any]]]]) -> dict[str, Any]:
    """The COCO JSON of images `names` with what `instances_of` found on each; a group is a crowd."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, ((width, height), objects)) in enumerate(zip(names, found, strict=True), 1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations += [
            {**one, "id": len(annotations) + place, "image_id": number} for place, one in enumerate(objects, 1)
        ]
    annotations = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(THINGS.values(), 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_train_labels(source: Path, target: Path) -> None:
    """Write a label image with the indices of the 19 classes that are evaluated, all others ignored.

    Raises:
        UserError: the source cannot be read, or holds a label that Cityscapes does not have.
    """
    write_relabelled(source, target, dict(zip(TRAIN_LABELS, range(len(TRAIN_LABELS)), strict=True)), LABEL_ARCHIVE)


def archives() -> tuple[Archive, ...]:
    """The official archives, for which no digest is published."""
    return (
        Archive(LABEL_ARCHIVE, "", below("gtFine/", "cityscapes/gtFine/")),
        Archive("leftImg8bit_trainvaltest.zip", "", below("leftImg8bit/", "cityscapes/leftImg8bit/")),
    )


BENCHMARK = Benchmark("cityscapes", archives, faults, finish=derive)
DATASET = as_dataset(BENCHMARK)
