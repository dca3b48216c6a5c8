"""Some of ImageNet-C's corruptions (Hendrycks and Dietterich, 2019), with its strengths at severities 1 to 5.

Strengths were chosen for 224 pixels; on smaller images blur and pixelation weigh more than there.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter

Corruption = Callable[[Image.Image, float], Image.Image]


def _noise(image: Image.Image, sigma: float) -> Image.Image:
    """Drawn from torch's generator, which its callers key by image."""
    values = np.asarray(image, np.float32) / 255
    return _picture(values + torch.randn(values.shape).numpy() * sigma)


def _blur(image: Image.Image, sigma: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def _brightness(image: Image.Image, more: float) -> Image.Image:
    """Adds to the value of HSV, which is the largest of the three channels, and keeps hue and saturation."""
    values = np.asarray(image, np.float32) / 255
    value = values.max(2, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    return _picture(np.where(value > 0, values / np.maximum(value, 1e-6) * brighter, brighter))


def _contrast(image: Image.Image, kept: float) -> Image.Image:
    values = np.asarray(image, np.float32) / 255
    mean = values.mean((0, 1), keepdims=True)
    return _picture((values - mean) * kept + mean)


def _jpeg(image: Image.Image, quality: float) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(quality))
    return Image.open(file).convert("RGB")


def _pixelate(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    small = max(1, int(width * share)), max(1, int(height * share))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "gaussian_noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "gaussian_blur": (_blur, (1, 2, 3, 4, 6)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "jpeg_compression": (_jpeg, (25, 18, 15, 10, 7)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
}


def corrupted(image: Image.Image, name: str, severity: int) -> Image.Image:
    """An RGB picture of the same size under one of CORRUPTIONS, severity 1 to 5."""
    change, strengths = CORRUPTIONS[name]
    return change(image, strengths[severity - 1])
