"""LVIS v1: annotations of COCO's images, each named by the address at which COCO has it."""

from __future__ import annotations

from pathlib import Path

from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset, below
from tools.datasets.unpacking.completeness import missing_or_short, names_in_json

COUNTS = {"train": 100_170, "val": 19_809}
DIGESTS = {  # tensorflow/datasets, lvis/checksums.tsv
    "lvis_v1_train.json.zip": "sha256:334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba",
    "lvis_v1_val.json.zip": "sha256:5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5",
}


def archives() -> tuple[Archive, ...]:
    """The official archives."""
    return tuple(Archive(name, digest, below("", "lvis/")) for name, digest in DIGESTS.items())


def faults(root: Path) -> list[str]:
    """What is missing of lvis/ and of the images below coco/, or cut short."""
    sentences = []
    for split, count in COUNTS.items():
        images, wrong = names_in_json(root / "lvis" / f"lvis_v1_{split}.json", count, "coco_url", parts=2)
        sentences += wrong + missing_or_short(root / "coco", images, "images")
    return sentences


BENCHMARK = Benchmark("lvis", archives, faults)
DATASET = as_dataset(BENCHMARK)
