"""CIFAR-10 and CIFAR-100: pictures of 32 x 32 pixels (Krizhevsky, 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.decode import plain
from transfer.datasets.benchmark import Benchmark, Listing, Remote


@dataclass(frozen=True)
class Pixels:
    """Pictures in memory, uint8 (N, 32, 32, 3), handed out as uncompressed files. digest: of the files they are of."""

    values: np.ndarray
    digest: str

    def read_bytes(self, place: int) -> bytes:
        """One picture as a PPM."""
        return plain(self.values[place])

    def fingerprint(self, place: int) -> object:
        """The checksum of the batches, and the place in them."""
        return self.digest, place


def of_torchvision(classes: int) -> Any:
    """torchvision's class, which compares every batch with its checksum."""
    from torchvision import datasets

    return {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]


def read(root: Path, split: str, classes: int) -> Listing:
    """One of the two official splits.

    Args: root, split: as of `Benchmark.read`. classes: 10 or 100.
    """
    found = of_torchvision(classes)(root, train=split == "train", download=False)
    names = [f"{split}/{place:05}" for place in range(len(found.data))]
    store = Pixels(found.data, found.tgz_md5)
    return Listing(root / found.base_folder, names, found.targets, tuple(found.classes), store=store)


def files(classes: int) -> tuple[Remote, ...]:
    """The archive, with torchvision's checksum."""
    one = of_torchvision(classes)
    return (Remote(one.url, f"md5:{one.tgz_md5}", lambda name: name),)


BENCHMARKS = tuple(
    Benchmark(
        f"cifar{classes}",
        f"CIFAR-{classes}",
        folder,
        classes=classes,
        counts={"train": 50_000, "test": 10_000},
        metric="top1",
        read=partial(read, classes=classes),
        held_out=0.1,
        even=True,
        files=partial(files, classes),
    )
    for classes, folder in ((10, "cifar-10-batches-py"), (100, "cifar-100-python"))
)
