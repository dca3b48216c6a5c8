"""torchvision: its names without `fc`, below "state_dict"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.convert.destinations.base import Destination, Verifier

if TYPE_CHECKING:
    from pretrain.weights.trunk import TrunkFile


def write(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write a file of torch.save; see `save_torchvision`."""
    from transfer.convert.write import save_torchvision

    return save_torchvision(path, trunk_file, origin)


def verifier() -> Verifier:
    """torchvision's own network."""
    from transfer.convert.verify import stages_in_torchvision

    return Verifier("torchvision", stages_in_torchvision)


DESTINATION = Destination(
    name="torchvision",
    help="torchvision's names without `fc`, below `state_dict`; checked in torchvision",
    endings=(".pth", ".pt"),
    write=write,
    verifier=verifier,
)
