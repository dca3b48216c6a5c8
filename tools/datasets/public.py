"""The benchmarks that configs/detection and pre-training name: their archives, where they go, and what must be there.

ROOT is the folder that DETECTRON2_DATASETS names. Counts are the publishers' own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets.imagenet import ARCHIVE_META
from torchvision.datasets.voc import DATASET_YEAR_DICT

from pretrain.runtime.errors import UserError
from tools.datasets import cityscapes, completeness, imagenet
from tools.datasets.archives import Archive, unpack

# SHA-256 of COCO's and LVIS' archives: tensorflow/datasets, url_checksums/coco2017.txt and lvis/checksums.tsv.
# MD5 of VOC's and ImageNet's: torchvision's own. None is published for Cityscapes.
COCO_TRAIN = "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"
COCO_VAL = "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"
COCO_ANNOTATIONS = "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"
LVIS_TRAIN = "sha256:334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba"
LVIS_VAL = "sha256:5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5"


@dataclass(frozen=True)
class PublicSet:
    """archives: what the publisher offers. faults: ROOT to sentences on what is missing or too short.

    unpack: takes the place of `archives.unpack` where an archive holds archives. finish: what is derived from
    the unpacked files.
    """

    archives: tuple[Archive, ...]
    faults: Callable[[Path], list[str]]
    unpack: Callable[[Archive, Path, Path, bool], None] = unpack
    finish: Callable[[Path], None] | None = None


def prepare(name: str, root: Path, archives: Path, verify: bool, only_check: bool) -> None:
    """Unpack the archives of a set that lie in `archives`, derive what it needs, and check that all of it is there.

    Raises:
        UserError: a bad archive (see `tools.datasets.archives.unpack`), or anything missing, in one sentence a fault.
    """
    chosen = SETS[name]
    root.mkdir(parents=True, exist_ok=True)
    if not only_check:
        for archive in chosen.archives:
            if (archives / archive.name).is_file():
                chosen.unpack(archive, archives, root, verify)
        if chosen.finish is not None:
            chosen.finish(root)
    faults = chosen.faults(root)
    if faults:
        wanted = [archive.name for archive in chosen.archives if not (archives / archive.name).is_file()]
        remedy = f"put {', '.join(wanted)} into {archives} and run this again" if wanted else "unpack it again"
        raise UserError(f"{name} below {root} is not whole: {'; '.join(faults)}. To mend it, {remedy}.")
    print(f"{name} below {root} is whole")


def _stripped(prefix: str, into: str) -> Callable[[str], str | None]:
    """Members below `prefix` go below `into`, others stay packed."""

    def place(name: str) -> str | None:
        name = name.removeprefix("./")
        return f"{into}{name.removeprefix(prefix)}" if name.startswith(prefix) else None

    return place


def _voc(key: str) -> Archive:
    entry = DATASET_YEAR_DICT[key]
    return Archive(entry["filename"], f"md5:{entry['md5']}", _stripped("VOCdevkit/", ""))


def _voc_faults(root: Path) -> list[str]:
    faults = []
    for year, splits in (("2007", {"trainval": 5011, "test": 4952}), ("2012", {"trainval": 11540})):
        folder = root / f"VOC{year}"
        for split, count in splits.items():
            names, told = completeness.listed(folder / "ImageSets" / "Main" / f"{split}.txt", count)
            faults += told
            faults += completeness.absent(folder / "JPEGImages", [f"{name}.jpg" for name in names], "images")
            faults += completeness.absent(folder / "Annotations", [f"{name}.xml" for name in names], "annotations")
    return faults


def _coco_faults(root: Path) -> list[str]:
    faults = []
    for split, count in (("train2017", 118_287), ("val2017", 5_000)):
        names, told = completeness.of_json(root / "coco" / "annotations" / f"instances_{split}.json", count)
        faults += told + completeness.absent(root / "coco" / split, names, "images")
    for split in ("train2017", "val2017"):
        faults += completeness.absent(root / "coco" / "annotations", [f"person_keypoints_{split}.json"], "annotations")
    return faults


def _lvis_faults(root: Path) -> list[str]:
    """LVIS describes COCO's images, each by the address at which COCO has it."""
    faults = []
    for split, count in (("train", 100_170), ("val", 19_809)):
        addresses, told = completeness.of_json(root / "lvis" / f"lvis_v1_{split}.json", count, "coco_url")
        faults += told
        faults += completeness.absent(root / "coco", ["/".join(name.split("/")[-2:]) for name in addresses], "images")
    return faults


SETS = {
    "voc": PublicSet((_voc("2007"), _voc("2007-test"), _voc("2012")), _voc_faults),
    "coco": PublicSet(
        (
            Archive("annotations_trainval2017.zip", COCO_ANNOTATIONS, _stripped("", "coco/")),
            Archive("val2017.zip", COCO_VAL, _stripped("", "coco/")),
            Archive("train2017.zip", COCO_TRAIN, _stripped("", "coco/")),
        ),
        _coco_faults,
    ),
    "lvis": PublicSet(
        (
            Archive("lvis_v1_train.json.zip", LVIS_TRAIN, _stripped("", "lvis/")),
            Archive("lvis_v1_val.json.zip", LVIS_VAL, _stripped("", "lvis/")),
        ),
        _lvis_faults,
    ),
    "cityscapes": PublicSet(
        (
            Archive("gtFine_trainvaltest.zip", "", _stripped("gtFine/", "cityscapes/gtFine/")),
            Archive("leftImg8bit_trainvaltest.zip", "", _stripped("leftImg8bit/", "cityscapes/leftImg8bit/")),
        ),
        cityscapes.faults,
        finish=cityscapes.derive,
    ),
    "imagenet": PublicSet(
        tuple(
            Archive(name, f"md5:{digest}", imagenet.place)
            for name, digest in (ARCHIVE_META[key] for key in ("devkit", "val", "train"))
        ),
        imagenet.faults,
        unpack=imagenet.unpack,
    ),
}
