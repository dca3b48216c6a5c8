"""ImageNet-A (Hendrycks et al., 2021): photographs that a ResNet-50 mistakes, of 200 classes."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.variants.base import Place, Variant, wnids
from transfer.datasets.variants.folders import wnid_of


def place(folder: Path, inside: str) -> Place:
    """FOLDER/WNID."""
    return Place("A", (wnid_of(folder, inside, "imagenet_a"),))


VARIANT = Variant("a", "ImageNet-A", ("imagenet-a",), place, 7500, lambda: wnids("imagenet_a"), order=20)
