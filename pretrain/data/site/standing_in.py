"""The environment variables that stand in for data.root and --data, as DETECTRON2_DATASETS does, and data.scratch."""

from __future__ import annotations

import os
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import hide

VARIABLE = "UNIGRAD_DATA"
SCRATCH = "UNIGRAD_SCRATCH"
NO_DATA = (
    f"data.root is not set: add data.root=FOLDER of images or class folders, or set {VARIABLE} in the environment."
)
NO_LABELLED = f"--data is not set: add --data ROOT with train/ and val/ in it, or set {VARIABLE} in the environment."
NO_IMAGES = f"--data is not set: add --data IMAGES, or set {VARIABLE} in the environment."
UNSET = f"unset is the environment variable {VARIABLE}"  # of --data, for --help


def standing_in() -> str:
    """What the variable gives to learn from: its train/ where it has val/ too, else itself; empty without it."""
    root = os.path.expanduser(os.environ.get(VARIABLE, ""))
    parts = [os.path.join(root, part) for part in ("train", "val")]
    return parts[0] if root and all(map(os.path.isdir, parts)) else hide(root)


def labelled_root(given: Path | None) -> Path:
    """What --data names, which holds train/ and val/; without it what the variable gives, as it stands there.

    Raises:
        UserError: neither names a folder.
    """
    if not (root := given or os.path.expanduser(os.environ.get(VARIABLE, ""))):
        raise UserError(NO_LABELLED)
    return Path(root)


def images_root(given: str | None) -> str:
    """What --data names, images of any kind of source; without it what pretraining would take.

    Raises:
        UserError: neither names images.
    """
    if not (root := given or standing_in()):
        raise UserError(NO_IMAGES)
    return root
