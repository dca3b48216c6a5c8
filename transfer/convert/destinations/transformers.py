"""transformers: the names of its own ResNetModel, in a safetensors file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.models import TRUNKS
from pretrain.weights.names import from_transformers_name, transformers_name
from transfer.convert.destinations.base import Destination, Verifier

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.weights.trunk import TrunkFile


def write(path: Path, trunk_file: TrunkFile, origin: Mapping[str, Any]) -> Path:
    """Write the file; see `save_safetensors`."""
    from transfer.convert.write import save_safetensors

    return save_safetensors(path, trunk_file, origin, transformers_name)


def stages_in_transformers(path: Path, trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
    """Outputs of res2..res5 of transformers' own network, filled strictly from the file."""
    from safetensors.torch import load_file

    from transfer.convert.peers import stages_of_transformers, transformers_network

    network = transformers_network(trunk_file.arch)
    network.load_state_dict(load_file(path), strict=True)
    return stages_of_transformers(network.eval(), images)


def stages_of_names(path: Path, trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
    """The same of torchvision's network, under the names that lead back."""
    from safetensors.torch import load_file

    from transfer.convert.verify import stages_of_state

    state = {from_transformers_name(name): tensor for name, tensor in load_file(path).items()}
    return stages_of_state(state, trunk_file.arch, images)


def verifier() -> Verifier:
    """transformers' own network, or torchvision's where transformers is not installed."""
    if importlib.util.find_spec("transformers"):
        return Verifier("transformers", stages_in_transformers)
    return Verifier("torchvision, for transformers is not installed", stages_of_names)


DESTINATION = Destination(
    name="transformers",
    help="the names of its ResNetModel; checked in transformers where it is installed, else in torchvision",
    endings=(".safetensors",),
    write=write,
    verifier=verifier,
    rename=transformers_name,
    networks=tuple(name for name in TRUNKS if name.startswith("resnet")),
)
