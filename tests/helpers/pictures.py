"""A picture that every machine computes alike: waves of three colours with an edge and a fine texture."""

from __future__ import annotations

import numpy as np


def waves(side: int = 224) -> np.ndarray:
    """uint8 (side, side, 3)."""
    down, right = np.mgrid[:side, :side]
    parts = [
        120 + 70 * ((down * (3 + colour) + right * 2) // 5 % 23 - 11) / 11 + 25 * ((down + colour * right) % 7 > 3)
        for colour in range(3)
    ]
    image = np.stack(parts, axis=2)
    image[side // 3 : side // 2, side // 4 : side // 2] += 60
    return np.clip(image, 0, 255).astype(np.uint8)
