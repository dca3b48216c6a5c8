"""From the whole numbers of pixels to what a network takes: grey where it takes grey, then scaled."""

from __future__ import annotations

import torch

from pretrain.augment import color
from pretrain.models.pixels import IMAGENET, Pixels


def normalise(images: torch.Tensor, pixels: Pixels = IMAGENET) -> torch.Tensor:
    """uint8 (..., 3, H, W) to float32 (..., C, H, W), less the mean and over the deviation, on images' device.

    Args: pixels, of C channels; of one, the images become grey first, as torchvision's Grayscale makes them.
    """
    values = images.float()
    if len(pixels.mean) == 1 and images.shape[-3] == 3:
        values = color.luma(values)
    # filled there, number by number: a list's numbers are copied there, for which the host waits
    mean, std = (
        torch.stack([torch.full((1, 1), value, device=images.device) for value in values]) for values in pixels
    )
    return values.div_(255).sub_(mean).div_(std)
