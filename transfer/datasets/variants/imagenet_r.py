"""ImageNet-R (Hendrycks et al., 2021): art, cartoons, toys and other renditions of 200 classes."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.variants.base import Place, Variant, wnids
from transfer.datasets.variants.folders import wnid_of


def place(folder: Path, inside: str) -> Place:
    """FOLDER/WNID."""
    return Place("R", (wnid_of(folder, inside, "imagenet_r"),))


VARIANT = Variant("r", "ImageNet-R", ("imagenet-r",), place, 30000, lambda: wnids("imagenet_r"), order=30)
