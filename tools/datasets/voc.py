"""Pascal VOC 2007 and 2012, for detection."""

from __future__ import annotations

from pathlib import Path

from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset, below
from tools.datasets.unpacking.completeness import listed_names, missing_or_short

COUNTS = {"2007": {"trainval": 5011, "test": 4952}, "2012": {"trainval": 11540}}


def archives() -> tuple[Archive, ...]:
    """The official archives, with torchvision's MD5 sums."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    entries = (DATASET_YEAR_DICT[key] for key in ("2007", "2007-test", "2012"))
    return tuple(Archive(one["filename"], f"md5:{one['md5']}", below("VOCdevkit/", "")) for one in entries)


def faults(root: Path) -> list[str]:
    """What is missing of VOC2007 and VOC2012, or cut short."""
    sentences = []
    for year, splits in COUNTS.items():
        folder = root / f"VOC{year}"
        for split, count in splits.items():
            names, wrong = listed_names(folder / "ImageSets" / "Main" / f"{split}.txt", count)
            sentences += wrong
            sentences += missing_or_short(folder / "JPEGImages", [f"{name}.jpg" for name in names], "images")
            sentences += missing_or_short(folder / "Annotations", [f"{name}.xml" for name in names], "annotations")
    return sentences


BENCHMARK = Benchmark("voc", archives, faults)
DATASET = as_dataset(BENCHMARK)
