"""From labelled images to the augmented batches of a training, which all ranks share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torchvision.transforms import v2

from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from transfer.datasets.samplers import EpochBatches, RankBatches
from transfer.features.pictures import Batch, Pictures, Transform, loader, room_of
from transfer.options import Common


def training_crops(image_size: int, min_scale: float) -> Transform:
    """Random resized crops of at least `min_scale` of an image's area, and flips, as for training on labels."""
    transform: Transform = v2.Compose([v2.RandomResizedCrop(image_size, (min_scale, 1.0)), v2.RandomHorizontalFlip()])
    return transform


def training_batches(
    train: ImageSource, batches: EpochBatches, min_scale: float, common: Common, device: torch.device
) -> Iterator[Batch]:
    """This rank's share of all batches of a training, as `collate` makes them, under `training_crops`.

    Args:
        train: the images.
        batches: which of them a step of all ranks takes; their seed draws the crops as well.
        min_scale: the least share of an image's area that a crop shows.
        common: the side of a crop, the workers, and how long they may take.
        device: where the batches go next.

    Raises:
        UserError: as of `loader`.
    """
    pictures = Pictures(train, training_crops(common.image_size, min_scale), batches.seed)
    room = room_of(batches.batch_size // distributed.world_size(), common.image_size, common.workers)
    return loader(pictures, RankBatches(batches), common.workers, device, common.timeout_minutes, room)
