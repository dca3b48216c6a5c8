"""The photometric operations of the augmentation, as arithmetic that gives Pillow's pixels.

Every function takes and returns float (..., 3, H, W) holding whole numbers from 0 to 255. Strengths are Python numbers,
or tensors that broadcast against the images, so that one text serves a worker's single view and a device's batch.
Held to Pillow in tests/pretrain/augment/test_color.py: gray and brightness give equal pixels, contrast and saturation
but for rare roundings by one level, hue and blur within the few levels that are stated there.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch

Number = TypeVar("Number", float, torch.Tensor)
MOST_SIGMA = 2.4  # pixels; wider blurs need boxes of more than 5 taps
REACH = 6  # pixels to either side that a blur of at most MOST_SIGMA sees
BRIGHT = 128  # from where `solarize` inverts
SURE = 1 / 1024  # see `hue`


def luma(images: torch.Tensor) -> torch.Tensor:
    """Pillow's grey value (ITU-R 601, 16-bit weights), (..., 1, H, W); every step is exact in float32."""
    red, green, blue = images.unbind(-3)
    weighted = (red * (19595 / 65536)).add_(green, alpha=38470 / 65536).add_(blue, alpha=7471 / 65536)
    return weighted.add_(0.5).floor_().unsqueeze(-3)


def gray(images: torch.Tensor) -> torch.Tensor:
    """The grey value in all three channels."""
    return luma(images).expand_as(images)


def brightness(images: torch.Tensor, factor: Number) -> torch.Tensor:
    """Blend with black; 1 changes nothing."""
    return (images * factor).clamp_(max=255).floor_()


def contrast(images: torch.Tensor, factor: Number) -> torch.Tensor:
    """Blend with the rounded mean of the grey values of each image; 1 changes nothing."""
    return _blend(images, luma(images).mean((-3, -2, -1), keepdim=True).add_(0.5).floor_(), factor)


def saturation(images: torch.Tensor, factor: Number) -> torch.Tensor:
    """Blend with the grey values; 1 changes nothing."""
    return _blend(images, luma(images), factor)


def _blend(images: torch.Tensor, other: torch.Tensor, factor: Number) -> torch.Tensor:
    return torch.lerp(other, images, factor).clamp_(0, 255).floor_()


def hue(images: torch.Tensor, steps: Number) -> torch.Tensor:
    """Turn the hue by whole 1/256 of the circle, through Pillow's 8-bit hue and saturation.

    Hue and saturation are quotients of whole numbers that are rounded down. No hue lies closer below a whole number
    than 1/510, no saturation closer than 1/255. SURE, half of the former, is added first. So a quotient is rounded to
    the right side where it is approximate, as those of Triton are, and no division moves a pixel.

    Args: steps, a whole number from -255 to 255; 0 still rounds hue and saturation to 8 bit, as in Pillow.
    """
    red, green, blue = images.unbind(-3)
    value, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    # sixths of the circle times chroma, counted from the largest channel; weights of 0 or 1 cost less than `where`
    not_red, not_green = (value - red).clamp_(max=1), (value - green).clamp_(max=1)
    others = (blue - red).add_(chroma, alpha=2).lerp_((red - green).add_(chroma, alpha=4), not_green)
    turn = (green - blue).lerp_(others, not_red).div_(chroma.clamp_min(1)).mul_(1 / 6)
    turn = turn.sub_(turn.floor()).mul_(255).add_(SURE).floor_().add_(steps)
    turn = turn.sub_((turn * (1 / 256)).floor_(), alpha=256).mul_(6 / 255)
    depth = chroma.div_(value.clamp_min(1)).mul_(255).add_(SURE).floor_().mul_(value).mul_(1 / 255)
    # a channel is lowered by all of `depth` in a third of the circle, by nothing in another, on slopes between
    red, green, blue = 2 - (turn - 3).abs_(), (turn - 2).abs_().sub_(1), (turn - 4).abs_().sub_(1)
    share = torch.stack([red, green, blue], dim=-3).clamp_(0, 1)
    return share.mul_(depth.neg_().unsqueeze(-3)).add_((value + 0.5).unsqueeze(-3)).floor_()


def solarize(images: torch.Tensor) -> torch.Tensor:
    """Invert the channels that are brighter than half of the scale, from 128 on, as Pillow and BYOL do."""
    return torch.where(images >= BRIGHT, 255 - images, images)


def hue_steps(turn: Number) -> Number:
    """torchvision's reading of a hue factor in turns, -0.5 to 0.5: 255ths, cut towards 0."""
    return torch.trunc(turn * 255) if isinstance(turn, torch.Tensor) else float(int(turn * 255))


def taps(sigma: Number) -> list[Number]:
    """The weights at distances 0 to REACH of Pillow's Gaussian blur: three boxes with a fractional border each.

    Gwosdek et al., Theoretical foundations of Gaussian convolution by extended box filtering, 2011, eqs. 7, 11, 14.
    σ = 0 gives 1, 0, 0, ...
    """
    variance = sigma * sigma / 3
    whole = (((12 * variance + 1) ** 0.5 - 1) / 2) // 1  # 0 or 1 up to MOST_SIGMA
    border = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    weight = 1 / (2 * (whole + border) + 1)
    edge = (1 - (2 * whole + 1) * weight) / 2
    inner, outer = whole * weight + (1 - whole) * edge, whole * edge
    box = [outer, inner, weight, inner, outer]
    return _convolve(_convolve(box, box), box)[REACH:]


def _convolve(first: list[Number], second: list[Number]) -> list[Number]:
    sums: list[Any] = [0.0] * (len(first) + len(second) - 1)
    for place, one in enumerate(first):
        for offset, other in enumerate(second):
            sums[place + offset] = sums[place + offset] + one * other
    return sums


def _without_tail(weights: list[float]) -> list[float]:
    """Leave out the outer taps that together move no pixel by a quarter of a level; the centre takes their weight."""
    kept = len(weights)
    while kept > 1 and 2 * 255 * sum(weights[kept - 1 :]) < 0.25:
        kept -= 1
    return [weights[0] + 2 * sum(weights[kept:]), *weights[1:kept]]


def blur(images: torch.Tensor, sigma: Number) -> torch.Tensor:
    """Pillow's Gaussian blur of σ pixels, rounded once, where Pillow rounds in each of its six passes.

    Args: images, of sides of at least REACH; sigma, 0 (changes nothing) to MOST_SIGMA, a tensor is (..., 1, 1, 1).
    """
    weights = taps(sigma)
    if not isinstance(sigma, torch.Tensor):
        weights = _without_tail(weights)
    return _along(_along(images, weights, -1), weights, -2).add_(0.5).floor_()


def _along(images: torch.Tensor, weights: list[Number], dimension: int) -> torch.Tensor:
    """A symmetric filter along one dimension of images that are mirrored at their border.

    Pillow repeats the border's pixel before each pass; through passes of three taps that is this mirror.
    """
    reach, length = len(weights) - 1, images.shape[dimension]
    before, after = (images.narrow(dimension, start, reach).flip(dimension) for start in (0, length - reach))
    padded = torch.cat([before, images, after], dimension)
    total = images * weights[0]
    for distance, weight in enumerate(weights[1:], 1):
        for start in (reach - distance, reach + distance):
            side = padded.narrow(dimension, start, length)
            total = total + side * weight if isinstance(weight, torch.Tensor) else total.add_(side, alpha=weight)
    return total
