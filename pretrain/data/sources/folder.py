"""Class folders, or a flat folder of unlabelled images: what is read where no other kind takes the root."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pretrain.data.archives.cache import cache_folder
from pretrain.data.decode import endings
from pretrain.data.folders.classes import layout_of
from pretrain.data.folders.listing import listed
from pretrain.data.folders.root import ARCHIVES, check_folder
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable

COMMON = ".jpg, .png, .webp, .tif"  # endings that a message names
SHARDS = (".tar", ".parquet")  # of which a pattern can be given
MEANING = "a folder of images or of class folders, a packed set, or another source of docs/data.md"


def _open(asked: Asked) -> ImageSource:
    check_folder(asked.root, MEANING)
    root = Path(asked.root)
    tree = listed(root, endings(), cache_folder(asked.reading.index_cache))
    if not tree.images:
        raise UserError(
            f"{root} holds no image ({COMMON} and the like){tree.omissions()}: {_remedy(root, tree.left_out)}."
        )
    found = layout_of(tree, asked.class_depth, asked.labelled, asked.ask)
    about = f"{printable(str(root))}: {found.counts(len(tree.images))}{tree.omissions()}"
    return ImageSource(root, tree.images, found.labels, found.classes, about=about)


def _remedy(root: Path, left_out: Iterable[str]) -> str:
    if shards := next((kind for kind in left_out if kind in SHARDS), None):
        return f"give its {shards} files themselves, such as '{root}/*{shards}'"
    packed = any(kind in ARCHIVES for kind in left_out)
    return "unpack its archives" if packed else f"give {MEANING}"


FOLDER = Kind("folder", MEANING, lambda root: True, _open)
