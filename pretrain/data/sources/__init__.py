"""Where the images of a set lie: one file a kind, which ends with its KIND. A file that is added is found by itself.

What no kind takes is read as class folders or a flat folder (folder.py).
"""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path

from pretrain.data.sources.base import ASK, Asked, ImageSource, Reading, Source, read_image
from pretrain.data.sources.folder import FOLDER
from pretrain.data.sources.kinds import kind_of, kinds
from pretrain.data.sources.several import KIND as SEVERAL
from pretrain.data.sources.several import is_several, roots_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import below, hide, is_url, spelled

__all__ = [
    "FOLDER",
    "ImageSource",
    "Reading",
    "Source",
    "kind_of",
    "kinds",
    "open_source",
    "part_of",
    "read_image",
    "resolved",
]


def open_source(
    root: str | Path, class_depth: int = 0, labelled: bool = False, ask: str = ASK, reading: Reading | None = None
) -> ImageSource:
    """Read a set of images of any kind.

    Of class folders, in a folder or an archive, the class is the outermost folder that holds images, where all of these
    are equally deep. Where that is not sure, the images have no labels.

    Args:
        root: the folder, file or pattern of files.
        class_depth: how many folders below the root name the class; 0 leaves it to the rule above.
        labelled: refuse class folders whose depth is not sure, rather than give no labels.
        ask: how the user says a class depth, for messages.
        reading: what else the user says of how it is read.

    Raises:
        UserError: the root is missing, cannot be read or holds no image, mixes loose images with class folders, or is
            damaged; or what was said of it does not fit it.
    """
    reading = reading or Reading()
    told = replace(reading, images_root=hide(reading.images_root))
    asked = Asked(hide(spelled(root)), class_depth, labelled, ask, told)
    kind = kind_of(root)
    if asked.reading.weights and kind.name != SEVERAL.name:
        raise UserError(f"{asked.option('weights')} is for several roots, and {asked.root} is one: leave it out.")
    for name in ("image_column", "label_column"):
        if (given := getattr(asked.reading, name)) and not kind.columns(asked.root):
            raise UserError(f"{asked.option(name)}{given} names a column, and {asked.root} has none: leave it out.")
    return kind.open(asked)


def part_of(root: str | Path, part: str) -> str | None:
    """The root of one part of a set, such as "train": its folder, or a file of any kind that is called so.

    Returns: None where there is none.

    Raises:
        UserError: several files are called so.
    """
    folder = below(spelled(root), part)
    if kind_of(root).folders or os.path.lexists(folder):
        return folder
    names = [os.path.join(root, name.format(part)) for kind in kinds() for name in kind.parts]
    found = [name for name in names if glob.glob(glob.escape(os.fspath(root)) + name[len(os.fspath(root)) :])]
    if len(found) > 1:
        raise UserError(f"{' and '.join(found)} are both there: leave one, or give it by itself.")
    return found[0] if found else None


def resolved(root: str) -> str:
    """A root as it is written down: absolute, each of several, and of a URL without its secrets."""
    if is_several(root):
        return f"[{','.join(map(resolved, roots_of(root)))}]"
    return hide(root) if is_url(root) else str(Path(root).resolve())
