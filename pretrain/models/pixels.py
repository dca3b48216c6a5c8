"""How a network's images are scaled: mean and standard deviation of each of its channels, which go where it goes."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Pixels(NamedTuple):
    """Of pixels from 0 to 1, a number a channel: three of RGB, or one of the grey value."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def attach(network: nn.Module, pixels: Pixels) -> None:
    """Note on a network what its images are scaled by; it is no part of its state."""
    vars(network)["pixels"] = pixels


def pixels_of(network: nn.Module) -> Pixels:
    """What the images of a network, or of the trunk within it, are scaled by; ImageNet's where nobody noted it."""
    noted = (vars(module).get("pixels") for module in network.modules())
    return next((one for one in noted if one is not None), IMAGENET)
