"""FGVC Aircraft: 100 variants (Maji et al., 2013)."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing

FOLDER = "fgvc-aircraft-2013b"


def read(root: Path, split: str) -> Listing:
    """One of the three official splits, with the variant as the class."""
    from torchvision.datasets import FGVCAircraft

    return listing(FGVCAircraft(root, split=split, annotation_level="variant", download=False), root / FOLDER)


def files() -> tuple[Remote, ...]:
    """The archive; torchvision knows no checksum of it."""
    from torchvision.datasets import FGVCAircraft

    return (Remote(FGVCAircraft._URL, place=lambda name: name),)


BENCHMARKS = (
    Benchmark(
        "fgvc_aircraft",
        "FGVC Aircraft",
        FOLDER,
        classes=100,
        counts={"train": 3_334, "val": 3_333, "test": 3_333},
        metric="mean per class",
        read=read,
        files=files,
    ),
)
