"""ImageNet-C's 15 corruptions and 4 further ones (Hendrycks and Dietterich, 2019), each at severities 1 to 5.

Strengths were chosen for 224 pixels; on smaller images blur and pixelation weigh more than there. Given the same draws,
a picture equals that of the authors' package imagenet-c to one grey level; elastic_transform does so under OpenCV 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from transfer.datasets.corruptions import blur, digital, noise, weather

Change = Callable[..., np.ndarray]  # (uint8 (S, S, 3), draws, *strength) to grey levels (S, S, 3) of any number type


@dataclass(frozen=True)
class Corruption:
    """One of them. strengths: the arguments of `change` at severities 1 to 5."""

    change: Change
    strengths: tuple[tuple[Any, ...], ...]


STANDARD: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian, ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,))),
    "shot_noise": Corruption(noise.shot, ((60,), (25,), (12,), (5,), (3,))),
    "impulse_noise": Corruption(noise.impulse, ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,))),
    "defocus_blur": Corruption(blur.defocus, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass_blur": Corruption(blur.glass, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    "motion_blur": Corruption(blur.motion, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": Corruption(blur.zoom, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    "snow": Corruption(
        weather.snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": Corruption(weather.frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": Corruption(weather.fog, ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))),
    "brightness": Corruption(weather.brightness, ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))),
    "contrast": Corruption(digital.contrast, ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))),
    "elastic_transform": Corruption(
        digital.elastic, ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
    "pixelate": Corruption(digital.pixelate, ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))),
    "jpeg_compression": Corruption(digital.jpeg, ((25,), (18,), (15,), (10,), (7,))),
}
FURTHER: Mapping[str, Corruption] = {
    "speckle_noise": Corruption(noise.speckle, ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,))),
    "gaussian_blur": Corruption(blur.gaussian, ((1,), (2,), (3,), (4,), (6,))),
    "spatter": Corruption(
        weather.spatter,
        (
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
    ),
    "saturate": Corruption(digital.saturate, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
}
CORRUPTIONS: Mapping[str, Corruption] = {**STANDARD, **FURTHER}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupted(image: Image.Image, name: str, severity: int, frost: Path | None = None) -> Image.Image:
    """A square RGB picture of the same size under one of CORRUPTIONS.

    What is random is drawn from torch's generator, which callers key by image.

    Args:
        image: RGB, square.
        name: of the corruption.
        severity: 1 to 5.
        frost: folder of the photographs of frost, which that corruption needs.
    """
    draw = np.random.RandomState(int(torch.randint(2**32, (1,))))
    more = {} if name != "frost" else {"folder": frost}
    corruption = CORRUPTIONS[name]
    found = corruption.change(np.asarray(image), draw, *corruption.strengths[severity - 1], **more)
    return Image.fromarray(levels(found))


def levels(values: np.ndarray) -> np.ndarray:
    """Grey levels as uint8, cut to 0..255 and rounded down, as the authors' package does."""
    cut: np.ndarray = np.clip(values, 0, 255).astype(np.uint8)
    return cut
