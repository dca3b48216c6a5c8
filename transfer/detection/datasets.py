"""The data sets that a configuration names: found on disk, read whole, and entered in detectron2's catalogues."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from pretrain.errors import UserError
from transfer.detection import coco, voc
from transfer.detection.images import Reading

BENCHMARKS = {  # detectron2's names of the benchmarks: where they lie below $DETECTRON2_DATASETS
    r"voc_(2007|2012)_(\w+)": r"VOC\1/\2",
    r"coco_(\d{4})_(train|val)": r"coco/\2\1",
}


@dataclass(frozen=True)
class DataSets:
    """train, test: names in detectron2's catalogues. readings: by those names. classes: in the order of indices."""

    train: tuple[str, ...]
    test: str
    classes: tuple[str, ...]
    readings: dict[str, Reading]

    def counts(self) -> dict[str, int]:
        """Images and boxes used, classes, and what was left out, for the result."""
        trained = [record for name in self.train for record in self.readings[name].records]
        tested = self.readings[self.test].records
        return {
            "train": len(trained),
            "val": len(tested),
            "classes": len(self.classes),
            "skipped": sum(len(reading.skipped) for reading in self.readings.values()),
            "train_boxes": _boxes(trained),
            "val_boxes": _boxes(tested),
            "boxes_clipped": sum(len(reading.clipped) for reading in self.readings.values()),
            "boxes_dropped": sum(len(reading.dropped) for reading in self.readings.values()),
        }

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was left out of a split, naming up to five."""
        kinds = (("skipped", "images that cannot be decoded"), ("clipped", "boxes clipped to their image"))
        kinds += (("dropped", "boxes without an area dropped"),)
        return [
            f"{name}: {len(getattr(reading, kind))} {told}: {'; '.join(getattr(reading, kind)[:5])}"
            for name, reading in self.readings.items()
            for kind, told in kinds
            if getattr(reading, kind)
        ]


def _boxes(records: Sequence[dict[str, Any]]) -> int:
    return sum(len(record["annotations"]) for record in records)


def open_all(cfg: CfgNode, scratch: Path) -> DataSets:
    """Read every split of DATASETS.TRAIN and TEST and enter it in detectron2's catalogues.

    An entry is FOLDER/SPLIT or SPLIT below DATASETS.ROOT, or a benchmark's name in detectron2, such as
    voc_2007_trainval. `scratch` takes the files that an evaluation needs.

    Raises:
        UserError: no root, a missing or damaged file, an empty split, or classes that do not fit.
    """
    root = _root(cfg)
    readings = {}
    for entry in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        readings[_catalogue_name(cfg, entry)] = _enter(cfg, root, entry, scratch)
    train = tuple(_catalogue_name(cfg, entry) for entry in cfg.DATASETS.TRAIN)
    test = _catalogue_name(cfg, cfg.DATASETS.TEST[0])
    classes = [tuple(MetadataCatalog.get(name).thing_classes) for name in readings]
    if len(set(classes)) > 1:
        raise UserError(f"the splits of {cfg.DATASETS.NAME} do not hold the same classes: {classes}.")
    if len(classes[0]) != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise UserError(
            f"MODEL.ROI_HEADS.NUM_CLASSES={cfg.MODEL.ROI_HEADS.NUM_CLASSES}, but {cfg.DATASETS.NAME} has "
            f"{len(classes[0])} classes: set it to {len(classes[0])}."
        )
    for name in (*train, test):
        if not _boxes(readings[name].records):
            raise UserError(f"split '{name}' holds no annotated object: there is nothing to learn or to measure.")
    if cfg.MODEL.MASK_ON:
        _check_masks(cfg, train, readings)
    return DataSets(train, test, classes[0], readings)


def _check_masks(cfg: CfgNode, train: Sequence[str], readings: dict[str, Reading]) -> None:
    for name in train:
        masks = [
            found.get("segmentation")
            for record in readings[name].records
            for found in record["annotations"]
            if not found.get("iscrowd", 0)
        ]
        if not all(masks):
            raise UserError(f"{masks.count(None)} objects of split '{name}' have no mask: set MODEL.MASK_ON=False.")
        if cfg.INPUT.MASK_FORMAT == "polygon" and any(isinstance(mask, dict) for mask in masks):
            raise UserError(f"split '{name}' holds run-length masks: set INPUT.MASK_FORMAT=bitmask.")


def _root(cfg: CfgNode) -> Path:
    root = cfg.DATASETS.ROOT or os.environ.get("DETECTRON2_DATASETS", "")
    if not root:
        raise UserError(
            f"where {cfg.DATASETS.NAME} lies is not known: set DATASETS.ROOT=FOLDER or the environment variable "
            "DETECTRON2_DATASETS."
        )
    if not Path(root).is_dir():
        raise UserError(f"data set folder {root} does not exist: check DATASETS.ROOT or DETECTRON2_DATASETS.")
    return Path(root)


def _catalogue_name(cfg: CfgNode, entry: str) -> str:
    return re.sub(r"\W+", "_", f"{cfg.DATASETS.NAME}_{entry}")


def _enter(cfg: CfgNode, root: Path, entry: str, scratch: Path) -> Reading:
    name, place = _catalogue_name(cfg, entry), entry
    for pattern, replacement in BENCHMARKS.items():
        if re.fullmatch(pattern, entry):
            place = re.sub(pattern, replacement, entry)
    folder, split = (root / place).parent, Path(place).name
    if name in DatasetCatalog:  # the same name may lie elsewhere in a second run within one process
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    if cfg.DATASETS.LAYOUT == "coco":
        reading = coco.read_split(folder, split, cfg.DATASETS.CLASSES, name, scratch)
    else:
        reading = voc.read_split(folder, split, cfg.DATASETS.CLASSES)
        year = 2012 if folder.name == "VOC2012" else 2007  # which AP detectron2's Pascal VOC evaluator computes
        MetadataCatalog.get(name).set(
            thing_classes=list(cfg.DATASETS.CLASSES), dirname=str(folder), split=split, year=year
        )
    if not reading.records:
        raise UserError(f"no image of split '{entry}' of {cfg.DATASETS.NAME} can be decoded.")
    DatasetCatalog.register(name, lambda: reading.records)
    return reading
