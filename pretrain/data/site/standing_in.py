"""The environment variables that stand in for data.root, as DETECTRON2_DATASETS for DATASETS.ROOT, and data.scratch."""

from __future__ import annotations

import os

from pretrain.runtime.urls import hide

VARIABLE = "UNIGRAD_DATA"
SCRATCH = "UNIGRAD_SCRATCH"
NO_DATA = (
    f"data.root is not set: add data.root=FOLDER of images or class folders, or set {VARIABLE} in the environment."
)


def standing_in() -> str:
    """What the variable gives to learn from: its train/ where it has val/ too, else itself; empty without it."""
    root = os.path.expanduser(os.environ.get(VARIABLE, ""))
    parts = [os.path.join(root, part) for part in ("train", "val")]
    return parts[0] if root and all(map(os.path.isdir, parts)) else hide(root)
