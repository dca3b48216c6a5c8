"""The photometry of a step's views, batched on the device: uint8 and drawn numbers in, normalised float out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from pretrain.augment import color
from pretrain.augment.multicrop import BLENDS, FLIP, GRAY, HUE, ORDER, SIGMA, SOLARIZE, Batch
from pretrain.augment.normalisation import normalise
from pretrain.models.pixels import IMAGENET, Pixels
from pretrain.runtime.devices.compile import compiled


def finish(batch: Batch, device: torch.device, pixels: Pixels = IMAGENET) -> list[torch.Tensor]:
    """Normalised float32 views (V_s, n, C, S, S) of each size on `device`; nothing waits for it.

    Args: pixels, of C channels, by which the views are scaled.

    Where the workers applied the photometry this only normalises; else it is applied here, compiled on CUDA.
    """
    crops = [crop.to(device, non_blocking=True) for crop in batch.crops]
    if batch.draws is None:
        return [normalise(crop, pixels) for crop in crops]
    draws = [drawn.to(device, non_blocking=True) for drawn in batch.draws]
    return [_finished(crop, drawn, pixels) for crop, drawn in zip(crops, draws, strict=True)]


def pictures(batch: Batch) -> list[torch.Tensor]:
    """The views as training sees them, uint8 (V_s, n, 3, S, S) of each size, on the CPU."""
    crops = [crop.cpu() for crop in batch.crops]
    if batch.draws is None:
        return crops
    pairs = zip(crops, batch.draws, strict=True)
    return [photometry(crop.float(), drawn.cpu()).to(torch.uint8) for crop, drawn in pairs]


def photometry(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Apply to float (..., 3, S, S), whole numbers from 0 to 255, the draws (..., NUMBERS) of multicrop.py.

    Equal to what `views.apply` does to one view after the other: at each of the four places of the order every image
    gets the operation that stands there for it.
    """
    numbers = draws[..., None, None, None]
    strengths = numbers.unbind(-4)
    steps = color.hue_steps(strengths[HUE])
    for order in numbers[..., ORDER, :, :, :].unbind(-4):
        changed = torch.where((order == HUE) & (steps != 0), color.hue(images, steps[..., 0]), images)
        for operation, blend in enumerate(BLENDS):
            changed = torch.where(order == operation, blend(images, strengths[operation]), changed)
        images = changed
    images = torch.where(strengths[GRAY] > 0, color.gray(images), images)
    images = torch.where(strengths[SIGMA] > 0, color.blur(images, strengths[SIGMA]), images)
    images = torch.where(strengths[SOLARIZE] > 0, color.solarize(images), images)
    return torch.where(strengths[FLIP] > 0, images.flip(-1), images)


def _eager(crops: torch.Tensor, draws: torch.Tensor, pixels: Pixels) -> torch.Tensor:
    return normalise(photometry(crops.float(), draws), pixels)


@cache
def _compiled(pixels: Pixels) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """With the statistics as constants of the graph."""

    def finished(crops: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        return _eager(crops, draws, pixels)

    return compiled(finished, "the photometry")


def _finished(crops: torch.Tensor, draws: torch.Tensor, pixels: Pixels) -> torch.Tensor:
    """Compiled on CUDA, where passes over memory are what it costs; as written on a CPU."""
    return _compiled(pixels)(crops, draws) if crops.device.type == "cuda" else _eager(crops, draws, pixels)
