"""ImageNet-C (Hendrycks and Dietterich, 2019): the validation images under corruptions, as published."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from transfer.datasets.corruption_names import FURTHER_NAMES, STANDARD_NAMES
from transfer.datasets.variants.base import Place, Variant
from transfer.datasets.variants.folders import wnid_of


def place(folder: Path, inside: str) -> Place:
    """FOLDER/[KIND/]CORRUPTION/SEVERITY/WNID."""
    parts = PurePosixPath(inside).parts
    if len(parts) < 3 or parts[-3] not in (*STANDARD_NAMES, *FURTHER_NAMES) or parts[-2] not in "12345":
        raise UserError(f"{folder / inside} is not CORRUPTION/SEVERITY/CLASS, as ImageNet-C's archives give it.")
    return Place(f"C {parts[-3]} {parts[-2]}", (wnid_of(folder, inside, "imagenet"),))


VARIANT = Variant("c", "ImageNet-C", ("imagenet-c",), place, 19 * 5 * 50000, order=50)
