"""Stanford Cars: 196 models (Krause et al., 2013)."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.benchmark import Benchmark, Listing
from transfer.datasets.listing import listing


def read(root: Path, split: str) -> Listing:
    """One of the two official splits."""
    from torchvision.datasets import StanfordCars

    found = StanfordCars(root, split=split, download=False)
    return listing(_Pairs(found), root / "stanford_cars")


class _Pairs:
    """torchvision's pairs of path and label as two lists."""

    def __init__(self, found: object) -> None:
        pairs = found._samples  # type: ignore[attr-defined]  # torchvision's data set has it
        self._image_files, self._labels = [path for path, _ in pairs], [label for _, label in pairs]
        self.classes = found.classes  # type: ignore[attr-defined]  # likewise


BENCHMARKS = (
    Benchmark(
        "stanford_cars",
        "Stanford Cars",
        "stanford_cars",
        classes=196,
        counts={"train": 8_144, "test": 8_041},
        metric="top1",
        read=read,
        held_out=0.2,
        note=(
            "the publisher's page is gone; a copy must hold cars_train/, cars_test/, devkit/ and "
            "cars_test_annos_withlabels.mat, and torchvision reads them with scipy"
        ),
    ),
)
