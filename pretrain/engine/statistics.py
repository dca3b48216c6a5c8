"""Mean and deviation of the images' pixels: as they are asked for, or measured on a sample of the images themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pretrain import config
from pretrain.augment import color
from pretrain.data.decode import UnreadableImage
from pretrain.data.sources import ImageSource
from pretrain.models.pixels import IMAGENET, Pixels
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

SAMPLE = 2000  # images that are measured at most
DIGITS = 4  # of the numbers that are written down and used


def pixels_of_run(data: config.Data) -> Pixels:
    """What the images of a run are scaled by; `measured` has put numbers in place of auto."""
    if data.mean == "imagenet":
        return IMAGENET
    assert not isinstance(data.mean, str) and not isinstance(data.std, str), "measured before"
    return Pixels(tuple(data.mean), tuple(data.std))


def check(data: config.Data) -> None:
    """Refuse statistics that do not go together, or with the channels.

    Raises:
        UserError: saying which, and what would do.
    """
    words = [one if isinstance(one, str) else "numbers" for one in (data.mean, data.std)]
    if words[0] != words[1]:
        raise UserError(
            f"data.mean={_told(data.mean)} does not go with data.std={_told(data.std)}: give numbers for both, or "
            "imagenet, or auto."
        )
    count = 3 if data.mean == "imagenet" else None if data.mean == "auto" else len(data.mean)
    for name, values in (("mean", data.mean), ("std", data.std)):
        if not isinstance(values, str) and len(values) != data.channels:
            count = len(values)
        if count not in (None, data.channels):
            raise UserError(
                f"data.{name}={_told(values)} is of {count} channels, but data.channels={data.channels}: give "
                f"{data.channels} number{'s' * (data.channels > 1)}, or auto."
            )


def _told(values: object) -> str:
    return str(values).replace(" ", "")


def measured(cfg: config.Config, source: ImageSource) -> config.Config:
    """`cfg` with numbers in place of data.mean=auto and data.std=auto, the same on all ranks.

    Raises:
        UserError: no image of the sample can be read, or all of its pixels are alike.
    """
    if cfg.data.mean != "auto":
        return cfg
    found = distributed.on_rank_0(lambda: measure(source, cfg.data.channels))
    data = dataclasses.replace(cfg.data, mean=list(found.mean), std=list(found.std))
    return dataclasses.replace(cfg, data=data)


def measure(source: ImageSource, channels: int, sample: int = SAMPLE) -> Pixels:
    """Mean and standard deviation of the pixels of at most `sample` images, evenly spread over the source.

    Every image counts alike, whatever its size. The numbers are rounded to DIGITS, so that they are the same on every
    machine.

    Args:
        source: the images.
        channels: 3 of RGB, or 1 of the grey value.
        sample: how many images at most.

    Raises:
        UserError: no image of the sample can be read, or a channel has no deviation.
    """
    sums = []
    for index in np.unique(np.linspace(0, len(source) - 1, min(sample, len(source))).round().astype(int)):
        try:
            pixels = source.read_pixels(int(index))
        except UnreadableImage:
            continue
        planes = torch.from_numpy(pixels).permute(2, 0, 1)
        if channels == 1:
            planes = color.luma(planes.float())
        values = planes.flatten(1).double() / 255
        sums.append(torch.stack([values.mean(1), values.square().mean(1)]))
    if not sums:
        raise UserError(f"data.mean=auto: no image of a sample of {source.where} can be read: give numbers.")
    mean, square = torch.stack(sums).mean(0)
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    found = Pixels(*(tuple(round(one, DIGITS) for one in part.tolist()) for part in (mean, deviation)))
    if not all(found.std):
        raise UserError(f"data.std=auto: the images of {source.where} are of one colour: give numbers.")
    return found
