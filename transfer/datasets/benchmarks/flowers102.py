"""Oxford Flowers-102 (Nilsback and Zisserman, 2008)."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing

FOLDER = "flowers-102"


def read(root: Path, split: str) -> Listing:
    """One of the three official splits; torchvision reads them with scipy."""
    from torchvision.datasets import Flowers102

    return listing(Flowers102(root, split=split, download=False), root / FOLDER)


def files() -> tuple[Remote, ...]:
    """The archive of the pictures, and the two tables, with torchvision's checksums."""
    from torchvision.datasets import Flowers102

    start = Flowers102._download_url_prefix
    (image, md5), *tables = (Flowers102._file_dict[name] for name in ("image", "label", "setid"))
    archive = Remote(f"{start}{image}", f"md5:{md5}", lambda name: f"{FOLDER}/{name}")
    return archive, *(Remote(f"{start}{name}", f"md5:{md5}", goes=f"{FOLDER}/{name}") for name, md5 in tables)


BENCHMARKS = (
    Benchmark(
        "flowers102",
        "Flowers-102",
        FOLDER,
        classes=102,
        counts={"train": 1_020, "val": 1_020, "test": 6_149},
        metric="mean per class",
        read=read,
        files=files,
    ),
)
