"""Outputs of a network for whole images, squashed to a square, so that every pixel can be predicted."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.transforms import v2

from pretrain.data.sources import ImageSource
from transfer.features.extract import check_finite, extracted
from transfer.features.on_device import chosen_precision
from transfer.features.pictures import Pictures
from transfer.features.rows import Features
from transfer.options import Common


def extract_squashed(common: Common, network: nn.Module, source: ImageSource, device: torch.device) -> Features:
    """As `extract_with`, of whole images whose sides both become `common.image_size`.

    Args:
        common: the options of an evaluation.
        network: from (n, 3, S, S) normalised images to (n, D).
        source: labelled images.
        device: where the network runs.

    Raises:
        UserError: not one file of the source can be decoded, or an output is not finite.
    """
    side = common.image_size
    pictures = Pictures(source, v2.Resize((side, side), v2.InterpolationMode(common.interpolation)))
    reading = (device, f"maps of {source.root.name}", common.timeout_minutes)
    precision = chosen_precision(common.frozen_precision, device)
    found = extracted(network, pictures, side, common.batch_size, common.workers, *reading, precision)
    check_finite(found.rows, found.names, source.where)
    return found
