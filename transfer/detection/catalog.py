"""The data sets that a configuration names: read, checked, and entered in detectron2's catalogues."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from pretrain.data.decode import DEEPEST
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable, shortened
from transfer.annotations.images import eight_bit_copy
from transfer.detection.config.load import value_at
from transfer.detection.data.formats import formats_of
from transfer.detection.data.formats.base import Split
from transfer.detection.data.records import REPAIRS, Reading, Record, Roles, objects_of
from transfer.detection.data.truth import category_ids, write_truth
from transfer.detection.tasks import task_of

LONGEST = 100  # characters of a name in the catalogues
COUNTED = 100  # detections of a class on an image that COCO's AP counts


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
            return counts | self._further()
        counts |= {
            "train_boxes": _boxes(trained),
            "val_boxes": _boxes(tested),
            "train_without_object": sum(len(self.readings[name].images_without_objects()) for name in self.train),
            "boxes_clipped": sum(len(reading.clipped) for reading in self.readings.values()),
            "boxes_dropped": sum(len(reading.dropped) for reading in self.readings.values()),
        }
        return counts | self._further()

    def _further(self) -> dict[str, int]:
        """Repairs that most sets do not need, by the names of REPAIRS."""
        sums = {kind: sum(len(getattr(one, kind)) for one in self.readings.values()) for kind in REPAIRS}
        return {kind: count for kind, count in sums.items() if count and kind not in ("skipped", "clipped", "dropped")}

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was left out of a split, naming up to five."""
        sentences = [
            f"{name}: {len(getattr(reading, kind))} {words}: {'; '.join(getattr(reading, kind)[:5])}"
            for name, reading in self.readings.items()
            for kind, words in REPAIRS.items()
            if getattr(reading, kind)
        ]
        for name in self.train:
            bare = self.readings[name].images_without_objects() if "train_boxes" in self.counts() else []
            if bare:
                sentences.append(
                    f"{name}: {len(bare)} images without an object (no annotation, or crowds only) teach nothing and "
                    f"are left out of training: {'; '.join(bare[:5])}"
                )
        crowded = [str(record["image_id"]) for record in self.readings[self.test].records if _most(record) > COUNTED]
        if crowded:
            sentences.append(
                f"{self.test}: {len(crowded)} images hold more than {COUNTED} objects of a class, and COCO's AP counts "
                f"no more detections of a class on an image: {'; '.join(crowded[:5])}"
            )
        return [printable(sentence) for sentence in sentences]


def _most(record: Record) -> int:
    """The number of objects of the commonest class of an image."""
    return max(Counter(one["category_id"] for one in objects_of(record)).values(), default=0)


def _boxes(records: Sequence[Record]) -> int:
    return sum(len(record["annotations"]) for record in records)


def open_datasets(cfg: CfgNode, scratch: Path, bits: int = DEEPEST) -> DataSets:
    """Read every split of DATASETS.TRAIN and TEST, check it, and enter it in detectron2's catalogues.

    What an entry is, DATASETS.LAYOUT decides (see transfer/detection/data/formats). `scratch` takes the files that a
    training or an evaluation needs: 8-bit copies of 16-bit images, and the truth that instances are measured against.
    A number of classes that is 0 becomes the data's, in `cfg`. `bits` are those in use of the grey values of 16-bit
    images, as the trunk was pretrained on.

    Raises:
        UserError: no root, a missing or damaged file, an empty split, or classes that do not fit.
    """
    root, names = _root(cfg), _catalogue_names(cfg)
    train = tuple(names[entry] for entry in cfg.DATASETS.TRAIN)
    test = names[cfg.DATASETS.TEST[0]]
    readings = {name: _read(cfg, root, entry, name, scratch) for entry, name in names.items()}
    classes = _classes(cfg, list(readings.values()))
    for entry, name in names.items():
        with _of_split(entry):
            task_of(cfg).settle(cfg, readings[name], Roles(name in train, name == test))
    for name, reading in readings.items():  # once nothing is refused any more, so that no file is left of what is
        _to_eight_bits(reading, scratch / "eight_bit", bits)
        _enter(cfg, name, reading, name == test, scratch)
    return DataSets(train, test, classes, readings)


@contextmanager
def _of_split(entry: str) -> Iterator[None]:
    """Say in each message which split it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"split '{entry}': {error}") from error


def _classes(cfg: CfgNode, readings: Sequence[Reading]) -> tuple[str, ...]:
    classes = [reading.classes for reading in readings]
    if len(set(classes)) > 1:
        told = "; ".join(shortened(", ".join(names), 400) for names in dict.fromkeys(classes))
        raise UserError(f"the splits of {cfg.DATASETS.NAME} do not hold the same classes: {told}.")
    key, count = task_of(cfg).class_keys[cfg.MODEL.META_ARCHITECTURE], len(classes[0])
    if not value_at(cfg, key):
        cfg.merge_from_list([key, count])
    if value_at(cfg, key) != count:
        raise UserError(f"{key}={value_at(cfg, key)}, but {cfg.DATASETS.NAME} has {count} classes: set it to {count}.")
    return classes[0]


def _root(cfg: CfgNode) -> Path:
    root = cfg.DATASETS.ROOT or os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", ""))
    if not root:
        raise UserError(
            f"where {cfg.DATASETS.NAME} lies is not known: set DATASETS.ROOT=FOLDER or the environment variable "
            "DETECTRON2_DATASETS."
        )
    if not Path(root).is_dir():
        raise UserError(f"data set folder {root} does not exist: check DATASETS.ROOT or DETECTRON2_DATASETS.")
    return Path(root)


def _catalogue_names(cfg: CfgNode) -> dict[str, str]:
    """Each entry of DATASETS.TRAIN and TEST with its name in detectron2's catalogues, which also names files."""
    names: dict[str, str] = {}
    for entry in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        plain = re.sub(r"\W+", "_", f"{cfg.DATASETS.NAME}_{entry}", flags=re.ASCII)[:LONGEST]
        places = itertools.chain([""], (f"_{place}" for place in itertools.count(2)))
        names[entry] = next(plain + place for place in places if plain + place not in names.values())
    return names


def _read(cfg: CfgNode, root: Path, entry: str, name: str, scratch: Path) -> Reading:
    chosen = formats_of(task_of(cfg).name)[cfg.DATASETS.LAYOUT]
    ignored = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    reading = chosen.read(Split(root, chosen.place(entry), tuple(cfg.DATASETS.CLASSES), name, scratch, ignored))
    if not reading.records:
        raise UserError(f"no image of split '{entry}' of {cfg.DATASETS.NAME} can be used.")
    return reading


def _to_eight_bits(reading: Reading, folder: Path, bits: int) -> None:
    """Let the records of 16-bit images name copies of 8 bits below `folder`."""
    deep = set(reading.deep)
    for record in reading.records:
        if record["file_name"] in deep:
            record["file_name"] = eight_bit_copy(record["file_name"], folder, bits)


def _enter(cfg: CfgNode, name: str, reading: Reading, measured: bool, scratch: Path) -> None:
    """Write what training and evaluation read beside the records, and enter a split in detectron2's catalogues."""
    if measured and "annotations" in reading.records[0]:
        reading.metadata["json_file"] = str(write_truth(scratch / f"{name}.json", reading))
        ids = category_ids(reading)
        reading.metadata["thing_dataset_id_to_contiguous_id"] = {key: place for place, key in enumerate(ids)}
    if name in DatasetCatalog:  # the same name may lie elsewhere in a second run within one process
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:
        MetadataCatalog.remove(name)
    MetadataCatalog.get(name).set(**{task_of(cfg).class_metadata: list(reading.classes)}, **reading.metadata)
    DatasetCatalog.register(name, lambda: reading.records)
