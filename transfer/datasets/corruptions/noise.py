"""Noise of ImageNet-C."""

from __future__ import annotations

import numpy as np


def gaussian(pixels: np.ndarray, draw: np.random.RandomState, sigma: float) -> np.ndarray:
    """Independent normal noise of that deviation, of values from 0 to 1."""
    return (pixels / 255.0 + draw.normal(size=pixels.shape, scale=sigma)) * 255


def shot(pixels: np.ndarray, draw: np.random.RandomState, photons: float) -> np.ndarray:
    """As many photons as a Poisson draw gives; white would be `photons` on average."""
    return draw.poisson(pixels / 255.0 * photons) / photons * 255


def impulse(pixels: np.ndarray, draw: np.random.RandomState, share: float) -> np.ndarray:
    """A share of all channel values replaced by 0 or by 255."""
    hit, white = draw.uniform(size=pixels.shape) <= share, draw.uniform(size=pixels.shape) <= 0.5
    return np.where(hit, np.where(white, 255, 0), pixels)


def speckle(pixels: np.ndarray, draw: np.random.RandomState, sigma: float) -> np.ndarray:
    """Normal noise that is stronger where an image is brighter."""
    values = pixels / 255.0
    return (values + values * draw.normal(size=values.shape, scale=sigma)) * 255
