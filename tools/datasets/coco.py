"""COCO 2017: boxes, masks and the keypoints of persons."""

from __future__ import annotations

from pathlib import Path

from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset, below
from tools.datasets.unpacking.completeness import missing_or_short, names_in_json

COUNTS = {"train2017": 118_287, "val2017": 5_000}
DIGESTS = {  # tensorflow/datasets, url_checksums/coco2017.txt
    "annotations_trainval2017.zip": "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    "val2017.zip": "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    "train2017.zip": "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
}


def archives() -> tuple[Archive, ...]:
    """The official archives."""
    return tuple(Archive(name, digest, below("", "coco/")) for name, digest in DIGESTS.items())


def faults(root: Path) -> list[str]:
    """What is missing of coco/{train2017,val2017,annotations}, or cut short."""
    folder, sentences = root / "coco", []
    for split, count in COUNTS.items():
        names, wrong = names_in_json(folder / "annotations" / f"instances_{split}.json", count)
        sentences += wrong + missing_or_short(folder / split, names, "images")
    for split in COUNTS:
        sentences += missing_or_short(folder / "annotations", [f"person_keypoints_{split}.json"], "annotations")
    return sentences


BENCHMARK = Benchmark("coco", archives, faults)
DATASET = as_dataset(BENCHMARK)
