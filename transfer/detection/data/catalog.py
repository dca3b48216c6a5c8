"""The data sets that a configuration names: read, checked, and entered in detectron2's catalogues."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from pretrain.runtime.errors import UserError
from transfer.detection.config.load import value_at
from transfer.detection.data.formats import formats_of
from transfer.detection.data.formats.base import Split
from transfer.detection.data.records import Reading, Record
from transfer.detection.tasks import task_of

LEFT_OUT = (  # what was changed or left out of a split, in words
    ("skipped", "images that cannot be decoded left out"),
    ("clipped", "boxes clipped to their image"),
    ("dropped", "boxes without an area in their image dropped"),
    ("strays", "annotations of images that are not listed left out"),
)


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
        counts = {
            "train": len(trained),
            "val": len(tested),
            "classes": len(self.classes),
            "skipped": sum(len(reading.skipped) for reading in self.readings.values()),
        }
        if not any("annotations" in record for record in trained):  # semantic segmentation
            return counts
        return counts | {
            "train_boxes": _boxes(trained),
            "val_boxes": _boxes(tested),
            "train_without_object": sum(len(self.readings[name].images_without_objects()) for name in self.train),
            "boxes_clipped": sum(len(reading.clipped) for reading in self.readings.values()),
            "boxes_dropped": sum(len(reading.dropped) for reading in self.readings.values()),
        }

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was left out of a split, naming up to five."""
        sentences = [
            f"{name}: {len(getattr(reading, kind))} {words}: {'; '.join(getattr(reading, kind)[:5])}"
            for name, reading in self.readings.items()
            for kind, words in LEFT_OUT
            if getattr(reading, kind)
        ]
        for name in self.train:
            bare = self.readings[name].images_without_objects() if "train_boxes" in self.counts() else []
            if bare:
                sentences.append(
                    f"{name}: {len(bare)} images without an object (no annotation, or crowds only) teach nothing and "
                    f"are left out of training: {'; '.join(bare[:5])}"
                )
        return sentences


def _boxes(records: Sequence[Record]) -> int:
    return sum(len(record["annotations"]) for record in records)


def open_datasets(cfg: CfgNode, scratch: Path) -> DataSets:
    """Read every split of DATASETS.TRAIN and TEST and enter it in detectron2's catalogues.

    What an entry is, DATASETS.LAYOUT decides (see transfer/detection/data/formats). `scratch` takes the files that an
    evaluation needs. A number of classes that is 0 becomes the data's, in `cfg`.

    Raises:
        UserError: no root, a missing or damaged file, an empty split, or classes that do not fit.
    """
    root, task = _root(cfg), task_of(cfg)
    readings = {}
    for entry in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        readings[_catalogue_name(cfg, entry)] = _enter(cfg, root, entry, scratch)
    train = tuple(_catalogue_name(cfg, entry) for entry in cfg.DATASETS.TRAIN)
    test = _catalogue_name(cfg, cfg.DATASETS.TEST[0])
    classes = _classes(cfg, list(readings.values()))
    for name in dict.fromkeys((*train, test)):
        task.check(cfg, name, readings[name], name in train)
    return DataSets(train, test, classes, readings)


def _classes(cfg: CfgNode, readings: Sequence[Reading]) -> tuple[str, ...]:
    classes = [reading.classes for reading in readings]
    if len(set(classes)) > 1:
        raise UserError(f"the splits of {cfg.DATASETS.NAME} do not hold the same classes: {classes}.")
    key, count = task_of(cfg).class_keys[cfg.MODEL.META_ARCHITECTURE], len(classes[0])
    if not value_at(cfg, key):
        cfg.merge_from_list([key, count])
    if value_at(cfg, key) != count:
        raise UserError(f"{key}={value_at(cfg, key)}, but {cfg.DATASETS.NAME} has {count} classes: set it to {count}.")
    return classes[0]


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
    name, task = _catalogue_name(cfg, entry), task_of(cfg)
    if name in DatasetCatalog:  # the same name may lie elsewhere in a second run within one process
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    chosen = formats_of(task.name)[cfg.DATASETS.LAYOUT]
    ignored = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    reading = chosen.read(Split(root, chosen.place(entry), tuple(cfg.DATASETS.CLASSES), name, scratch, ignored))
    if not reading.records:
        raise UserError(f"no image of split '{entry}' of {cfg.DATASETS.NAME} can be decoded.")
    MetadataCatalog.get(name).set(**{task.class_metadata: list(reading.classes)}, **reading.metadata)
    DatasetCatalog.register(name, lambda: reading.records)
    return reading
