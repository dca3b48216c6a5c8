"""ImageNet-V2 (Recht et al., 2019): new test images by the old recipe, chosen in three ways."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from transfer.datasets.variants.base import Place, Variant, wnids

WAYS = ("matched-frequency", "threshold-0.7", "threshold0.7", "top-images", "topimages")


def place(folder: Path, inside: str) -> Place:
    """FOLDER/INDEX, the index of a class among ImageNet's sorted ones."""
    name = PurePosixPath(inside).name
    if not name.isdigit() or int(name) >= len(wnids("imagenet")):
        raise UserError(
            f"{folder / inside} is no class of ImageNet-V2 ('{shortened(name)}'): its folders are the numbers 0 to 999."
        )
    way = next((way for way in WAYS if way in folder.name.lower()), "")
    return Place(f"V2 {way}".strip(), (wnids("imagenet")[int(name)],))


VARIANT = Variant("v2", "ImageNet-V2", ("imagenetv2", "imagenet-v2"), place, 10000, order=10)
