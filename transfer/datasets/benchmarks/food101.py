"""Food-101: 101 dishes (Bossard et al., ECCV 2014)."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing


def read(root: Path, split: str) -> Listing:
    """One of the two official splits."""
    from torchvision.datasets import Food101

    return listing(Food101(root, split=split, download=False), root / "food-101")


def files() -> tuple[Remote, ...]:
    """The archive, with torchvision's checksum."""
    from torchvision.datasets import Food101

    return (Remote(Food101._URL, f"md5:{Food101._MD5}", lambda name: name),)


BENCHMARKS = (
    Benchmark(
        "food101",
        "Food-101",
        "food-101",
        classes=101,
        counts={"train": 75_750, "test": 25_250},
        metric="top1",
        read=read,
        held_out=0.1,
        even=True,
        files=files,
    ),
)
