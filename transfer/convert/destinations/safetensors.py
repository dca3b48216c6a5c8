"""safetensors: torchvision's names in a file that holds no code; architecture and provenance are its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.convert.destinations.base import Destination, Verifier

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.weights.trunk import TrunkFile


def write(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write the file; see `save_safetensors`."""
    from transfer.convert.write import save_safetensors

    return save_safetensors(path, trunk_file, origin)


def stages_of_safetensors(path: Path, trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
    """Outputs of res2..res5 of torchvision's own network, or features of timm's, filled strictly by the library."""
    from safetensors.torch import load_file

    from transfer.convert.verify import stages_of_state

    return stages_of_state(load_file(path), trunk_file.arch, images)


def verifier() -> Verifier:
    """torchvision's network, filled from what the library reads."""
    return Verifier("torchvision, under whose names safetensors reads it", stages_of_safetensors)


DESTINATION = Destination(
    name="safetensors",
    help="the names of torchvision and timm, provenance as metadata; checked in torchvision or timm",
    endings=(".safetensors",),
    write=write,
    verifier=verifier,
    takes_timm=True,
)
