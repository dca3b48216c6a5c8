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

from pretrain.runtime.errors import UserError
from transfer.detection.config.load import read
from transfer.detection.config.validate import CLASS_KEYS, SEMANTIC
from transfer.detection.data import coco, semantic, voc
from transfer.detection.data.lvis import load_lvis_json
from transfer.detection.data.records import Reading, objects

BENCHMARKS = {  # the benchmarks' names: where they lie below $DETECTRON2_DATASETS
    r"voc_(2007|2012)_(\w+)": r"VOC\1/\2",
    r"coco_(\d{4})_(train|val)": r"coco/annotations/instances_\2\1.json:coco/\2\1",
    r"keypoints_coco_(\d{4})_(train|val)": r"coco/annotations/person_keypoints_\2\1.json:coco/\2\1",
    r"cityscapes_(train|val)": r"cityscapes/annotations/instances_\1.json:cityscapes/leftImg8bit/\1",
    r"cityscapes_semantic_(train|val)": r"cityscapes/leftImg8bit/\1:cityscapes/semantic/\1",
    r"lvis_v1_(train|val)": r"lvis/lvis_v1_\1.json:coco",
}
TOLD = (  # what was changed or left out of a split, in words
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
            "train_without_object": sum(len(self.readings[name].bare()) for name in self.train),
            "boxes_clipped": sum(len(reading.clipped) for reading in self.readings.values()),
            "boxes_dropped": sum(len(reading.dropped) for reading in self.readings.values()),
        }

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was left out of a split, naming up to five."""
        sentences = [
            f"{name}: {len(getattr(reading, kind))} {told}: {'; '.join(getattr(reading, kind)[:5])}"
            for name, reading in self.readings.items()
            for kind, told in TOLD
            if getattr(reading, kind)
        ]
        for name in self.train:
            bare = self.readings[name].bare() if "train_boxes" in self.counts() else []
            if bare:
                sentences.append(
                    f"{name}: {len(bare)} images without an object (no annotation, or crowds only) teach nothing and "
                    f"are left out of training: {'; '.join(bare[:5])}"
                )
        return sentences


def _boxes(records: Sequence[dict[str, Any]]) -> int:
    return sum(len(record["annotations"]) for record in records)


def open_all(cfg: CfgNode, scratch: Path) -> DataSets:
    """Read every split of DATASETS.TRAIN and TEST and enter it in detectron2's catalogues.

    An entry is FOLDER/SPLIT or SPLIT below DATASETS.ROOT, JSON:IMAGES for an annotation file and a folder of any name,
    IMAGES:LABELS for folders of images and of label images, or a benchmark's name, such as voc_2007_trainval.
    `scratch` takes the files that an evaluation needs. A number of classes that is 0 becomes the data's, in `cfg`.

    Raises:
        UserError: no root, a missing or damaged file, an empty split, or classes that do not fit.
    """
    root = _root(cfg)
    readings = {}
    for entry in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        readings[_catalogue_name(cfg, entry)] = _enter(cfg, root, entry, scratch)
    train = tuple(_catalogue_name(cfg, entry) for entry in cfg.DATASETS.TRAIN)
    test = _catalogue_name(cfg, cfg.DATASETS.TEST[0])
    classes = _classes(cfg, list(readings))
    for name in (*train, test):
        if cfg.MODEL.META_ARCHITECTURE != SEMANTIC and not any(map(objects, readings[name].records)):
            raise UserError(f"split '{name}' holds no annotated object: there is nothing to learn or to measure.")
    for name in train:
        _check_shapes(cfg, name, readings[name])
    return DataSets(train, test, classes, readings)


def _classes(cfg: CfgNode, names: Sequence[str]) -> tuple[str, ...]:
    kind = "stuff_classes" if cfg.MODEL.META_ARCHITECTURE == SEMANTIC else "thing_classes"
    classes = [tuple(MetadataCatalog.get(name).get(kind)) for name in names]
    if len(set(classes)) > 1:
        raise UserError(f"the splits of {cfg.DATASETS.NAME} do not hold the same classes: {classes}.")
    key = CLASS_KEYS[cfg.MODEL.META_ARCHITECTURE]
    if not read(cfg, key):
        cfg.merge_from_list([key, len(classes[0])])
    if len(classes[0]) != read(cfg, key):
        raise UserError(
            f"{key}={read(cfg, key)}, but {cfg.DATASETS.NAME} has {len(classes[0])} classes: set it to "
            f"{len(classes[0])}."
        )
    return classes[0]


def _check_shapes(cfg: CfgNode, name: str, reading: Reading) -> None:
    """Masks and keypoints, where the model wants them."""
    found = [one for record in reading.records for one in objects(record)]
    if cfg.MODEL.MASK_ON:
        lacking = sum(not one.get("segmentation") for one in found)
        if lacking:
            raise UserError(f"{lacking} objects of split '{name}' have no mask: set MODEL.MASK_ON=False.")
        if cfg.INPUT.MASK_FORMAT == "polygon" and any(isinstance(one["segmentation"], dict) for one in found):
            raise UserError(f"split '{name}' holds run-length masks: set INPUT.MASK_FORMAT=bitmask.")
    if cfg.MODEL.KEYPOINT_ON:
        points, wanted = MetadataCatalog.get(name).get("keypoint_names", ()), cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        if len(points) != wanted:
            raise UserError(
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS={wanted}, but split '{name}' names {len(points)} keypoints: "
                f"{f'set it to {len(points)}' if points else 'give a JSON with keypoints, or MODEL.KEYPOINT_ON=False'}."
            )
        if not any(sum(one.get("keypoints", [])[2::3]) for one in found):
            raise UserError(f"split '{name}' holds no visible keypoint: there is nothing to learn.")
        if len(cfg.TEST.KEYPOINT_OKS_SIGMAS) != wanted:
            raise UserError(
                f"TEST.KEYPOINT_OKS_SIGMAS lists {len(cfg.TEST.KEYPOINT_OKS_SIGMAS)} numbers, one for each of the "
                f"{wanted} keypoints is needed: pycocotools would measure with COCO's persons' 17."
            )


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
    if name in DatasetCatalog:  # the same name may lie elsewhere in a second run within one process
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    reader = _read_labels if cfg.MODEL.META_ARCHITECTURE == SEMANTIC else _read_objects
    reading = reader(cfg, root, place, name, scratch)
    if not reading.records:
        raise UserError(f"no image of split '{entry}' of {cfg.DATASETS.NAME} can be decoded.")
    DatasetCatalog.register(name, lambda: reading.records)
    return reading


def _read_labels(cfg: CfgNode, root: Path, place: str, name: str, scratch: Path) -> Reading:
    classes, ignored = list(cfg.DATASETS.CLASSES), cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    MetadataCatalog.get(name).set(stuff_classes=classes, ignore_label=ignored)
    if cfg.DATASETS.LAYOUT == "voc":
        return semantic.read_voc((root / place).parent, Path(place).name, classes, ignored)
    pictures, labels = _two(root, place)
    return semantic.read_folders(pictures, labels, classes, ignored)


def _read_objects(cfg: CfgNode, root: Path, place: str, name: str, scratch: Path) -> Reading:
    classes, folder, split = cfg.DATASETS.CLASSES, (root / place).parent, Path(place).name
    if cfg.DATASETS.LAYOUT == "voc":
        year = 2012 if folder.name == "VOC2012" else 2007  # which AP detectron2's Pascal VOC evaluator computes
        MetadataCatalog.get(name).set(thing_classes=list(classes), dirname=str(folder), split=split, year=year)
        return voc.read_split(folder, split, classes)
    plain = (folder / "annotations" / f"instances_{split}.json", folder / split)
    listing, pictures = _two(root, place) if ":" in place else plain
    if cfg.DATASETS.LAYOUT == "lvis":
        return coco.read_split(listing, pictures, classes, name, scratch, load_lvis_json)
    return coco.read_split(listing, pictures, classes, name, scratch)


def _two(root: Path, place: str) -> tuple[Path, Path]:
    """The halves of FIRST:SECOND below `root`."""
    first, colon, second = place.partition(":")
    if not colon:
        raise UserError(f"split '{place}' is not of the form IMAGES:LABELS.")
    return root / first, root / second
