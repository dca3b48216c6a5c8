"""Textured pictures for tests: photographs' mixture of smooth ground, edges, fine grain and saturated colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def texture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture of `width` by `height` pixels."""
    noise = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for cells, strength in ((3, 110), (9, 60), (31, 30)):  # cells across
        coarse = Image.fromarray(noise.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += strength / 200 * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    for _ in range(6):  # flat patches with hard edges
        top, left = int(noise.integers(0, max(1, height - 2))), int(noise.integers(0, max(1, width - 2)))
        pixels[top : top + height // 5 + 1, left : left + width // 5 + 1] = noise.integers(0, 256, 3)
    return Image.fromarray((pixels + noise.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8))


def write_folder(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """A flat folder of `count` JPEGs of `size` (width, height) and a broken one, bad.jpg."""
    folder.mkdir()
    for seed in range(count):
        texture(*size, seed).save(folder / f"{seed}.jpg")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    return folder
