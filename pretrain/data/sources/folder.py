"""Class folders, or a flat folder of unlabelled images: what is read where no other kind takes the root."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pretrain.data.classes import layout_of
from pretrain.data.decode import endings
from pretrain.data.root import ARCHIVES, check_folder
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.data.walk import walk
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable

COMMON = ".jpg, .png, .webp, .tif"  # endings that a message names
MEANING = "a folder of images or of class folders, or a packed set"


def _open(asked: Asked) -> ImageSource:
    root = Path(asked.root)
    check_folder(root, MEANING)
    tree = walk(root, endings())
    if not tree.images:
        raise UserError(f"{root} holds no image ({COMMON} and the like){tree.omissions()}: {_remedy(tree.left_out)}.")
    found = layout_of(tree, asked.class_depth, asked.labelled, asked.ask)
    about = f"{printable(str(root))}: {found.counts(len(tree.images))}{tree.omissions()}"
    return ImageSource(root, tree.images, found.labels, found.classes, about=about)


def _remedy(left_out: Iterable[str]) -> str:
    packed = any(kind in ARCHIVES for kind in left_out)
    return "unpack its archives" if packed else f"give {MEANING}"


FOLDER = Kind("folder", MEANING, lambda root: True, _open)
