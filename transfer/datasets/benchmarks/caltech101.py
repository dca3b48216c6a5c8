"""Caltech-101 (Fei-Fei et al., 2004) with its background class: 30 images a class are trained on, the rest tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pretrain.data.sources import open_source
from transfer.datasets.benchmark import Benchmark, Listing, Remote

FOLDER, TRAINED = "caltech101/101_ObjectCategories", 30
SEED = 0  # of the draw, the same for every evaluation


def read(root: Path, split: str) -> Listing:
    """The 30 images of each class that are drawn for training, or the others.

    torchvision's class leaves out BACKGROUND_Google, which the published 3,060 and 6,084 images count; so the folder is
    read as class folders.
    """
    found = open_source(root / FOLDER, 1, labelled=True)
    assert found.labels is not None
    labels, draw = np.asarray(list(found.labels)), np.random.default_rng(SEED)
    drawn = [draw.permutation(np.flatnonzero(labels == label))[:TRAINED] for label in range(len(found.classes))]
    trained = np.zeros(len(labels), bool)
    trained[np.concatenate(drawn)] = True
    kept = np.flatnonzero(trained if split == "train" else ~trained).tolist()
    return Listing(root / FOLDER, [found.key(at) for at in kept], labels[kept].tolist(), found.classes)


def files() -> tuple[Remote, ...]:
    """The archive of archives; torchvision's checksum stands in its code only."""
    inner = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
    return (Remote(inner, "md5:3138e1922a9193bfa496528edbbc45d0", _place),)


def _place(name: str) -> str | None:
    """The inner archive, which is unpacked by hand."""
    return "caltech101/101_ObjectCategories.tar.gz" if name.endswith("101_ObjectCategories.tar.gz") else None


BENCHMARKS = (
    Benchmark(
        "caltech101",
        "Caltech-101",
        FOLDER,
        classes=102,
        counts={"train": 3_060, "test": 6_084},
        metric="mean per class",
        read=read,
        held_out=1 / 6,
        files=files,
        note=(
            "the published draws of 30 images a class are not known, so ours is one of its own; unpack the archive in "
            "the archive inside caltech101/"
        ),
    ),
)
