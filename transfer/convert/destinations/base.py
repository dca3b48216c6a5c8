"""What a destination says: the files it reads, how it names tensors, and which network a written file is checked in.

Nothing here imports torch when it is loaded, so that `tools/convert.py --help` answers at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.models import TIMM, TRUNKS
from pretrain.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.weights.trunk import TrunkFile

Write = Callable[[Path, "TrunkFile", Mapping[str, Any]], Path]
Stages = Callable[[Path, "TrunkFile", "Tensor"], Sequence["Tensor"]]


@dataclass(frozen=True)
class Verifier:
    """library: whose network a written file is loaded into, in words.

    stages: (path, trunk_file, images (N, 3, H, W)) to the outputs of res2..res5 of that network, filled from the file.
    """

    library: str
    stages: Stages


def rgb_input(mean: Sequence[float], std: Sequence[float]) -> str:
    """What a network wants to be fed, where images are scaled to 0..1."""
    return f"RGB in 0..1, mean {tuple(mean)}, std {tuple(std)}"


def require_network(trunk_file: TrunkFile, path: object, library: str, takes_timm: bool = False) -> None:
    """Refuse a trunk of grey images, or of timm, for a library that has no network for it.

    Args:
        trunk_file: the trunk.
        path: of its file.
        library: its name.
        takes_timm: whether it has timm's networks.

    Raises:
        UserError: naming the file, what it holds, and what can be done with it.
    """
    if trunk_file.arch.startswith(TIMM) and not takes_timm:
        raise UserError(
            f"{path} is a {trunk_file.arch}, for which {library} has no builder: convert it with --to timm or --to "
            "safetensors, evaluate it with tools/evaluate.py, or fine-tune it with tools/train_detection.py "
            f"MODEL.BACKBONE.ARCH={trunk_file.arch}."
        )
    if trunk_file.channels != 3:
        raise UserError(
            f"{path} takes grey images (data.channels={trunk_file.channels}), for which {library} has no such trunk: "
            "evaluate it with tools/evaluate.py, or pretrain with data.channels=3, which repeats grey."
        )


@dataclass(frozen=True)
class Destination:
    """A library that converted trunks are written for.

    name: what is typed after --to. help: one line.
    endings: of the files that the library reads.
    rename: torchvision's name of a tensor to the destination's.
    write: (path, trunk_file, origin) to the written file, atomically, with `origin` (`provenance_of`) inside it.
    verifier: returns the network that a file is checked in, or refuses where its library is absent. It may also be
        named as "module:function", where conversion itself must not import the module.
    takes_timm: whether the library has timm's networks beside torchvision's ResNets.
    networks: which of those it has.
    describe_input: mean and standard deviation of RGB in 0..1 to the settings that the library needs, in words.
    """

    name: str
    help: str
    endings: tuple[str, ...]
    write: Write
    verifier: Callable[[], Verifier] | str
    rename: Callable[[str], str] = str
    describe_input: Callable[[Sequence[float], Sequence[float]], str] = rgb_input
    takes_timm: bool = False
    networks: Sequence[str] = TRUNKS

    def require(self, trunk_file: TrunkFile, path: object) -> None:
        """Refuse a trunk that the library has no network for.

        Raises:
            UserError: naming the file and what it holds.
        """
        require_network(trunk_file, path, self.name, self.takes_timm)
        if trunk_file.arch in TRUNKS and trunk_file.arch not in self.networks:
            raise UserError(
                f"{path} is a {trunk_file.arch}, and {self.name} has {', '.join(self.networks)} alone: convert it with "
                "--to torchvision or --to timm."
            )

    def ready_verifier(self) -> Verifier:
        """The network that written files are checked in.

        Raises:
            UserError: the destination's library is needed and is not installed.
        """
        if callable(self.verifier):
            return self.verifier()
        module, _, function = self.verifier.partition(":")
        verifier: Verifier = getattr(importlib.import_module(module), function)()
        return verifier
