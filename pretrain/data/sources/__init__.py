"""Where the images of a set lie: one file a kind, which ends with its KIND. A file that is added is found by itself.

What no kind takes is read as class folders or a flat folder (folder.py).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pretrain.data.sources.base import ASK, Asked, ImageSource, Kind, Reading, Source, read_image
from pretrain.data.sources.folder import FOLDER
from pretrain.runtime.registry import collect

__all__ = ["ImageSource", "Reading", "Source", "kind_of", "kinds", "open_source", "read_image"]


@cache
def kinds() -> tuple[Kind, ...]:
    """Every kind but the folder, in the order of their files' names; no root is of two of them."""
    return tuple(collect(__name__, "KIND"))


def kind_of(root: str | Path) -> Kind:
    """The kind that reads a root; that of folders where no other does."""
    text = os.fspath(root)
    return next((kind for kind in kinds() if kind.takes(text)), FOLDER)


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
    asked = Asked(os.fspath(root), class_depth, labelled, ask, reading or Reading())
    return kind_of(root).open(asked)
