"""Weather of ImageNet-C: snow, frost, fog, sunshine, and drops or mud on the lens."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.runtime.errors import UserError
from transfer.datasets.corruptions.blur import enlarged, smoothed, streaked

FROSTS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # a sixth is never drawn
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
WATER, MUD = (175, 238, 238), (63, 42, 20)


def snow(
    pixels: np.ndarray,
    draw: np.random.RandomState,
    mean: float,
    deviation: float,
    factor: float,
    least: float,
    radius: float,
    sigma: float,
    kept: float,
) -> np.ndarray:
    """Streaks of enlarged noise above a threshold on an image that is made pale.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        mean, deviation: of the noise.
        factor: by which the noise is enlarged.
        least: values of the noise below it are no snow.
        radius, sigma: of the streaks in pixels.
        kept: share of the image that is not made pale.
    """
    values = pixels.astype(np.float32) / 255
    noise = enlarged(draw.normal(size=pixels.shape[:2], loc=mean, scale=deviation)[..., None], factor)[..., 0]
    flakes = (np.clip(np.where(noise < least, 0, noise), 0, 1) * 255).astype(np.uint8)
    layer = streaked(flakes, radius, sigma, draw.uniform(-135, -45))[..., None] / 255.0
    pale = np.maximum(values, (values @ GREY)[..., None] * 1.5 + 0.5)
    changed: np.ndarray = (kept * values + (1 - kept) * pale + layer + layer[::-1, ::-1]) * 255
    return changed


def frost(
    pixels: np.ndarray, draw: np.random.RandomState, kept: float, weight: float, folder: Path | None = None
) -> np.ndarray:
    """A part of one of five photographs of frost, added.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        kept: weight of the image.
        weight: of the photograph.
        folder: of the photographs, at least as large as the image.

    Raises:
        UserError: there is no folder, or no such photograph.
    """
    ice: np.ndarray = _photograph(folder, FROSTS[draw.randint(5)], len(pixels))
    top, left = draw.randint(0, ice.shape[0] - len(pixels)), draw.randint(0, ice.shape[1] - len(pixels))
    changed: np.ndarray = kept * pixels + weight * ice[top : top + len(pixels), left : left + len(pixels)]
    return changed


def check_frost(folder: Path | None) -> None:
    """Refuse a folder without the photographs.

    Raises:
        UserError: saying where they come from.
    """
    lacking = [name for name in FROSTS if folder is None or not (folder / name).is_file()]
    if lacking:
        where = "frost= names no folder" if folder is None else f"{folder} lacks {lacking[0]}"
        raise UserError(
            f"the corruption frost needs its five photographs and {where}: give the folder "
            "ImageNet-C/imagenet_c/imagenet_c/frost of github.com/hendrycks/robustness."
        )


@lru_cache(maxsize=len(FROSTS))
def _photograph(folder: Path | None, name: str, side: int) -> np.ndarray:
    check_frost(folder)
    assert folder is not None
    with Image.open(folder / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    if min(pixels.shape[:2]) <= side:
        raise UserError(f"{folder / name} is {pixels.shape[1]}x{pixels.shape[0]}: images of {side} need larger ones.")
    return pixels


def fog(pixels: np.ndarray, draw: np.random.RandomState, strength: float, decay: float) -> np.ndarray:
    """A plasma fractal added, and all brought back to the image's highest value.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        strength: factor of the fractal.
        decay: as of `plasma`.
    """
    values, side = pixels / 255.0, len(pixels)
    highest = values.max()
    mist = plasma(1 << (side - 1).bit_length(), decay, draw)[:side, :side, None]
    changed: np.ndarray = (values + strength * mist) * highest / (highest + strength) * 255
    return changed


def plasma(side: int, decay: float, draw: np.random.RandomState) -> np.ndarray:
    """A plasma fractal (side, side) from 0 to 1 by the diamond-square rule, whose edges fit together.

    Args: side, a power of 2; decay, by which the noise is divided when the grid is made twice as fine.
    """
    grid, step, noise = np.zeros((side, side)), side, 100.0

    def around(corners: np.ndarray) -> np.ndarray:
        """The mean of four neighbours, and noise."""
        mean: np.ndarray = corners / 4 + noise * draw.uniform(-noise, noise, corners.shape)
        return mean

    while step >= 2:
        half = step // 2
        corners = grid[::step, ::step]
        below = corners + np.roll(corners, -1, 0)
        grid[half::step, half::step] = around(below + np.roll(below, -1, 1))
        centres, corners = grid[half::step, half::step], grid[::step, ::step]
        upright = (centres + np.roll(centres, 1, 0)) + (corners + np.roll(corners, -1, 1))
        grid[::step, half::step] = around(upright)
        level = (centres + np.roll(centres, 1, 1)) + (corners + np.roll(corners, -1, 0))
        grid[half::step, ::step] = around(level)
        step, noise = half, noise / decay
    grid -= grid.min()
    fractal: np.ndarray = grid / grid.max()
    return fractal


def brightness(pixels: np.ndarray, _: np.random.RandomState, more: float) -> np.ndarray:
    """Adds to the value of HSV, the largest of the three channels, and keeps hue and saturation."""
    values = pixels / 255.0
    value = values.max(2, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    changed: np.ndarray = np.where(value > 0, values / np.maximum(value, 1e-6) * brighter, brighter) * 255
    return changed


def spatter(
    pixels: np.ndarray,
    draw: np.random.RandomState,
    mean: float,
    deviation: float,
    sigma: float,
    least: float,
    strength: float,
    mud: bool,
) -> np.ndarray:
    """Drops of water with bright rims, or mud.

    Args:
        pixels: uint8 (S, S, 3).
        draw: what random numbers come from.
        mean, deviation: of the noise of which the drops are made.
        sigma: deviation of the Gaussian that makes drops of it.
        least: values below it are no drop.
        strength: of the water, or deviation of the Gaussian on the mud's edges.
        mud: whether it is mud.
    """
    changed: np.ndarray
    values = pixels.astype(np.float32) / 255
    liquid = smoothed(draw.normal(size=pixels.shape[:2], loc=mean, scale=deviation), sigma)
    liquid[liquid < least] = 0
    if mud:
        there = smoothed((liquid > least).astype(np.float32), strength)[..., None]
        there[there < 0.8] = 0
        changed = values * (1 - there) * 255 + np.array(MUD) * there
        return changed
    rims = _rims((liquid * 255).astype(np.uint8))[..., None]
    changed = values * 255 + rims * strength * np.array(WATER)
    return changed


def _rims(liquid: np.ndarray) -> np.ndarray:
    """Where drops (S, S) reflect light, from 0 to 1: at their edges, embossed."""
    import cv2

    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    near = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)[1]
    even = cv2.equalizeHist(cv2.blur(near, (3, 3)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    light = cv2.blur(cv2.filter2D(even, cv2.CV_8U, emboss), (3, 3)).astype(np.float32)
    rims = liquid * light
    shares: np.ndarray = rims / max(rims.max(), 1e-6)
    return shares
