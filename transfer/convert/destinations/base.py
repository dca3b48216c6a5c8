"""What a destination says: the files it reads, how it names tensors, and which network a written file is checked in.

Nothing here imports torch when it is loaded, so that `tools/convert.py --help` answers at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Destination:
    """A library that converted trunks are written for.

    name: what is typed after --to. help: one line.
    endings: of the files that the library reads.
    rename: torchvision's name of a tensor to the destination's.
    write: (path, trunk_file, origin) to the written file, atomically, with `origin` (`provenance_of`) inside it.
    verifier: returns the network that a file is checked in, or refuses where its library is absent. It may also be
        named as "module:function", where conversion itself must not import the module.
    describe_input: mean and standard deviation of RGB in 0..1 to the settings that the library needs, in words.
    """

    name: str
    help: str
    endings: tuple[str, ...]
    write: Write
    verifier: Callable[[], Verifier] | str
    rename: Callable[[str], str] = str
    describe_input: Callable[[Sequence[float], Sequence[float]], str] = rgb_input

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
