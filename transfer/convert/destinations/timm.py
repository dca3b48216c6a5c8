"""timm: its ResNets have torchvision's names and are read below "state_dict"."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.models import TIMM
from transfer.convert.destinations import torchvision
from transfer.convert.destinations.base import Destination, Verifier

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.weights.trunk import TrunkFile


def stages_in_timm(path: Path, trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
    """Outputs of res2..res5 of timm's own network, which timm itself fills strictly from the file.

    Of a trunk of timm's, its features.
    """
    from timm.models import load_checkpoint

    from pretrain.models.trunks import is_timm, plain_trunk
    from transfer.convert.peers import stages

    network = plain_trunk(trunk_file.arch if is_timm(trunk_file.arch) else f"{TIMM}{trunk_file.arch}")
    load_checkpoint(network, str(path), strict=True)
    network = network.eval().to(images.dtype)
    return [network(images)] if is_timm(trunk_file.arch) else stages(network, images)


def verifier() -> Verifier:
    """timm's own network, or torchvision's where timm is not installed."""
    from transfer.convert.verify import stages_in_torchvision

    if importlib.util.find_spec("timm"):
        return Verifier("timm", stages_in_timm)
    return Verifier("torchvision, under whose names timm reads it", stages_in_torchvision)


DESTINATION = Destination(
    name="timm",
    help="the names of torchvision and timm; checked in timm where it is installed, else in torchvision",
    endings=(".pth", ".pt"),
    write=torchvision.write,
    verifier=verifier,
    takes_timm=True,
)
