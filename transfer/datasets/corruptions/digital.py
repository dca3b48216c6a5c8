"""Digital corruptions of ImageNet-C: contrast, warping, pixels, compression, saturation."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

UNIT = 244  # pixels in which warping is measured; 224 was meant by the authors


def contrast(pixels: np.ndarray, _: np.random.RandomState, kept: float) -> np.ndarray:
    """Each channel drawn towards its mean over the image."""
    values = pixels / 255.0
    mean = values.mean((0, 1), keepdims=True)
    result: np.ndarray = ((values - mean) * kept + mean) * 255
    return result


def elastic(pixels: np.ndarray, draw: np.random.RandomState, shift: float, sigma: float, affine: float) -> np.ndarray:
    """A random affine map, and each pixel moved by smoothed noise.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        shift: factor of the noise, in shares of UNIT pixels.
        sigma: deviation of its smoothing, likewise.
        affine: how far a corner of the map is moved at most, likewise.
    """
    import cv2
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = pixels.shape[:2]
    centre, reach = np.array([height, width], dtype=np.float32) // 2, min(height, width) // 3
    corners = np.array([centre + reach, [centre[0] + reach, centre[1] - reach], centre - reach], dtype=np.float32)
    limit = UNIT * affine
    moved = corners + draw.uniform(-limit, limit, size=corners.shape).astype(np.float32)
    values = pixels.astype(np.float32) / 255
    turned = cv2.warpAffine(
        values, cv2.getAffineTransform(corners, moved), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    right, down = (
        gaussian_filter(draw.uniform(-1, 1, size=(height, width)), UNIT * sigma, mode="reflect", truncate=3)
        * (UNIT * shift)
        for _ in range(2)
    )
    rows, columns = np.mgrid[:height, :width]
    at = rows + down.astype(np.float32), columns + right.astype(np.float32)
    channels = [map_coordinates(channel, at, order=1, mode="reflect") for channel in np.moveaxis(turned, 2, 0)]
    return np.stack(channels, axis=2) * 255


def pixelate(pixels: np.ndarray, _: np.random.RandomState, share: float) -> np.ndarray:
    """That share of the rows and of the columns, enlarged again."""
    image = Image.fromarray(pixels)
    small = max(1, int(image.width * share)), max(1, int(image.height * share))
    box = Image.Resampling.BOX
    return np.asarray(image.resize(small, box).resize(image.size, box))


def jpeg(pixels: np.ndarray, _: np.random.RandomState, quality: int) -> np.ndarray:
    """Written as a JPEG of that quality, and read."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def saturate(pixels: np.ndarray, draw: np.random.RandomState, factor: float, more: float) -> np.ndarray:
    """The saturation of HSV changed; hue and value stay, and grey is of the hue red.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from; none here.
        factor: on the saturation.
        more: what is added to it then.
    """
    values = pixels / 255.0
    value = values.max(2, keepdims=True)
    below = value - values  # of the value; the saturation is its largest in shares of the value
    most = below.max(2, keepdims=True)
    saturation = most / np.where(value > 0, value, 1)
    wanted = np.clip(saturation * factor + more, 0, 1)
    red = np.array([0, 1, 1]) * wanted * value
    result: np.ndarray = value - np.where(most > 0, below / np.where(most > 0, most, 1) * wanted * value, red)
    return result * 255
