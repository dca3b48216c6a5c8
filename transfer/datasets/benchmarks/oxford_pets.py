"""Oxford-IIIT Pets: 37 breeds of cats and dogs (Parkhi et al., CVPR 2012)."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing

FOLDER = "oxford-iiit-pet"


def read(root: Path, split: str) -> Listing:
    """One of the two official splits, with the breed as the class."""
    from torchvision.datasets import OxfordIIITPet

    found = OxfordIIITPet(root, split={"train": "trainval"}.get(split, split), download=False)
    return listing(found, root / FOLDER, images="_images")


def files() -> tuple[Remote, ...]:
    """The two archives, with torchvision's checksums."""
    from torchvision.datasets import OxfordIIITPet

    return tuple(Remote(url, f"md5:{md5}", lambda name: f"{FOLDER}/{name}") for url, md5 in OxfordIIITPet._RESOURCES)


BENCHMARKS = (
    Benchmark(
        "oxford_pets",
        "Oxford Pets",
        FOLDER,
        classes=37,
        counts={"train": 3_680, "test": 3_669},
        metric="mean per class",
        read=read,
        held_out=0.2,
        files=files,
    ),
)
