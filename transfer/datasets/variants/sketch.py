"""ImageNet-Sketch (Wang et al., 2019): drawings in black and white of all classes."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.variants.base import Place, Variant
from transfer.datasets.variants.folders import wnid_of


def place(folder: Path, inside: str) -> Place:
    """FOLDER/WNID."""
    return Place("Sketch", (wnid_of(folder, inside, "imagenet"),))


VARIANT = Variant("sketch", "ImageNet-Sketch", ("sketch", "imagenet-sketch"), place, 50889, order=40)
