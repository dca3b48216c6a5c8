"""Folders that are called by their class, as most variants have them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from transfer.datasets.variants.base import wnids


def wnid_of(folder: Path, inside: str, known: str) -> str:
    """The class of images in FOLDER/INSIDE, by the last name of that path.

    Args: known, the list of the classes that there are.

    Raises:
        UserError: it is none of these.
    """
    name = PurePosixPath(inside).name
    if name not in wnids(known):
        raise UserError(
            f"{folder / inside} is no class of the {len(wnids(known))} of {known.replace('_', '-')} "
            f"('{shortened(name)}'): give the folder as its archive gives it."
        )
    return name
