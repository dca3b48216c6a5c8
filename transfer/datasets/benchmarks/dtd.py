"""DTD: 47 textures (Cimpoi et al., CVPR 2014), the first of its ten partitions."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing


def read(root: Path, split: str) -> Listing:
    """One of the three splits of the first partition."""
    from torchvision.datasets import DTD

    return listing(DTD(root, split=split, partition=1, download=False), root / "dtd" / "dtd")


def files() -> tuple[Remote, ...]:
    """The archive, with torchvision's checksum."""
    from torchvision.datasets import DTD

    return (Remote(DTD._URL, f"md5:{DTD._MD5}", lambda name: f"dtd/{name}"),)


BENCHMARKS = (
    Benchmark(
        "dtd",
        "DTD",
        "dtd/dtd",
        classes=47,
        counts={"train": 1_880, "val": 1_880, "test": 1_880},
        metric="top1",
        read=read,
        even=True,
        files=files,
        note="of ten partitions the first",
    ),
)
