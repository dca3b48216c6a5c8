"""Small labelled image folders for tests: each class has its own colour under noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"n01_red": (200, 60, 60), "n02_green": (60, 200, 60), "n03_blue": (60, 60, 200)}


def paint(root: Path, per_class: int, size: tuple[int, int] = (24, 20), seed: int = 0, extension: str = "png") -> Path:
    """ROOT/CLASS/CLASS_K.extension for every class of COLOURS; size is (width, height)."""
    noise = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(colour + noise.normal(0, 40, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{number}.{extension}")
    return root


def paint_both(root: Path, train: int, val: int) -> Path:
    """ROOT/train and ROOT/val with that many images of each class."""
    paint(root / "train", train, seed=1)
    paint(root / "val", val, seed=2)
    return root
