"""Blur of ImageNet-C: of a lens, of frosted glass, of motion, of zooming."""

from __future__ import annotations

import math

import numpy as np


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """(S, S) or (S, S, C) under a Gaussian of that deviation in pixels, edges repeated; scikit-image's filter."""
    from scipy.ndimage import gaussian_filter

    sigmas = (sigma, sigma, 0)[: values.ndim]
    result: np.ndarray = gaussian_filter(values, sigmas, mode="nearest", truncate=4.0)
    return result


def gaussian(pixels: np.ndarray, _: np.random.RandomState, sigma: float) -> np.ndarray:
    """A Gaussian of that deviation in pixels."""
    return smoothed(pixels / 255.0, sigma) * 255


def defocus(pixels: np.ndarray, draw: np.random.RandomState, radius: int, soft: float) -> np.ndarray:
    """The mean over a disk with a soft edge.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from; none here.
        radius: of the disk in pixels.
        soft: deviation of the Gaussian that softens its edge.
    """
    import cv2

    reach, side = (8, 3) if radius <= 8 else (radius, 5)
    across = np.arange(-reach, reach + 1)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), ksize=(side, side), sigmaX=soft)
    result: np.ndarray = cv2.filter2D(pixels / 255.0, -1, kernel)
    return result * 255


def glass(pixels: np.ndarray, draw: np.random.RandomState, sigma: float, reach: int, times: int) -> np.ndarray:
    """Each pixel takes the colour of one at most `reach` away, between two Gaussians.

    The pixels are gone through from the last to the first, so that some take a colour that was moved before. The
    authors meant to swap the two and copy one; so did the images that they published.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        sigma: deviation of both Gaussians in pixels.
        reach: in pixels.
        times: how often all pixels are gone through.
    """
    blurred = (smoothed(pixels / 255.0, sigma) * 255).astype(np.uint8)
    height, width = blurred.shape[:2]
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    taken = list(range(height * width))
    for _ in range(times):
        moves = draw.randint(-reach, reach, size=(len(rows) * len(columns), 2))
        steps = iter((moves[:, 0] + moves[:, 1] * width).tolist())
        for row in rows:
            for at in range(row * width + columns[0], row * width + columns[-1] - 1, -1):
                taken[at] = taken[at + next(steps)]
    moved = blurred.reshape(height * width, -1)[taken].reshape(blurred.shape)
    return smoothed(moved / 255.0, sigma) * 255


def streaked(pixels: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """uint8 (S, S) or (S, S, C) under half a Gaussian along a line, ImageMagick's motion blur.

    Args:
        pixels: the image, edges repeated.
        radius: half of the line's length in pixels.
        sigma: deviation of the Gaussian, whose peak is the pixel itself.
        angle: of the line, in degrees.
    """
    steps = np.arange(math.ceil(2 * radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    right, down = (part(math.radians(angle)) for part in (math.cos, math.sin))
    height, width = pixels.shape[:2]
    total = np.zeros(pixels.shape)
    for step, weight in zip(steps.tolist(), weights.tolist(), strict=True):
        rows = np.clip(np.arange(height) + math.ceil(step * down - 0.5), 0, height - 1)
        columns = np.clip(np.arange(width) + math.ceil(step * right - 0.5), 0, width - 1)
        total += weight * pixels[rows[:, None], columns]
    return total.astype(np.uint8)


def motion(pixels: np.ndarray, draw: np.random.RandomState, radius: float, sigma: float) -> np.ndarray:
    """A streak in a direction at most 45 degrees from the horizontal.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        radius: half of its length in pixels.
        sigma: as of `streaked`.
    """
    return streaked(pixels, radius, sigma, draw.uniform(-45, 45))


def zoom(pixels: np.ndarray, draw: np.random.RandomState, end: float, step: float) -> np.ndarray:
    """The mean of the image and of itself enlarged by the factors 1, 1 + step, ... below `end`.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from; none here.
        end: which no factor reaches.
        step: between factors.
    """
    values = (pixels / 255.0).astype(np.float32)
    factors = np.arange(1, end, step)
    total = sum((enlarged(values, factor) for factor in factors), values)
    return total / (len(factors) + 1) * 255


def enlarged(values: np.ndarray, factor: float) -> np.ndarray:
    """The centre of (S, S, C), enlarged to (S, S, C) by linear interpolation between the corners' pixel centres."""
    side = len(values)
    kept = math.ceil(side / factor)
    first = (side - kept) // 2
    full = round(kept * factor)
    start = (full - side) // 2
    at = np.arange(start, start + side) * ((kept - 1) / (full - 1))
    low = np.minimum(at.astype(int), max(kept - 2, 0))
    high, share = np.minimum(low + 1, kept - 1), (at - low).astype(values.dtype)
    centre = values[first : first + kept, first : first + kept]
    across = centre[low] + (centre[high] - centre[low]) * share[:, None, None]
    result: np.ndarray = across[:, low] + (across[:, high] - across[:, low]) * share[:, None]
    return result
