"""A whole trunk or none: architectures told by shapes, and every tensor checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.models import TRUNKS
from pretrain.models import trunks as networks
from pretrain.models.pixels import Pixels, attach
from pretrain.runtime.digests import bytes_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened
from pretrain.weights.formats import ALL_BITS, BITS
from pretrain.weights.layouts.base import IMAGENET, ImageStatistics
from pretrain.weights.numbers import COUNTER, as_held, beyond_float32, finite, is_whole, unfit

STATISTICS = ("running_mean", "running_var")
Signature = tuple[bool, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class TrunkFile:
    """A trunk and where it comes from.

    state: torchvision's names without `fc` to tensors on the CPU, float32 but for BN's counters.
    arch: torchvision's name of the network. layout: the name of a layout. meta: what the file says of its making.
    mapping: torchvision's names to the file's. own_names: to those that the source's own network uses.
    peer: whose network that is, as in `Layout`. stated: what the file calls its network, "" where it does not.
    branch: online or target, empty where there is one trunk. called, other: where this branch and the other one lie.
    left_out: groups of the file's other tensors to the number of their tensors.
    pixels: mean and standard deviation of the images that it was trained on. pixels_from: who says so, after "as".
    """

    state: dict[str, Tensor]
    arch: str
    layout: str
    meta: dict[str, Any]
    mapping: dict[str, str] = field(default_factory=dict)
    branch: str = ""
    called: str = ""
    other: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    pixels: ImageStatistics = IMAGENET
    pixels_from: str = "is usual"
    own_names: dict[str, str] = field(default_factory=dict)
    peer: str = ""
    stated: str = ""

    @property
    def channels(self) -> int:
        """Of the images: 3 of colour, or 1 of the grey value."""
        return len(self.pixels[0])

    @property
    def bits(self) -> int:
        """Of the grey images of 16 bits that it was trained on, those in use."""
        said = self.meta.get(BITS)
        return said if isinstance(said, int) and 8 <= said <= ALL_BITS else ALL_BITS


def build_trunk(trunk_file: TrunkFile) -> nn.Module:
    """A torchvision ResNet in eval mode with `fc` the identity, filled strictly from `trunk_file`.

    It carries what its images are scaled by (pretrain/models/pixels.py).
    """
    trunk, _ = networks.build_trunk(trunk_file.arch, channels=trunk_file.channels)
    trunk.load_state_dict(trunk_file.state, strict=True)
    attach(trunk, Pixels(*trunk_file.pixels))
    return trunk.eval()


def plain_trunk(trunk_file: TrunkFile) -> nn.Module:
    """torchvision's own ResNet in eval mode with `fc` the identity, filled strictly from `trunk_file`."""
    trunk = networks.plain_trunk(trunk_file.arch, trunk_file.channels)
    trunk.load_state_dict(trunk_file.state, strict=True)
    return trunk.eval()


@lru_cache
def shapes_of(arch: str, channels: int = 3) -> dict[str, torch.Size]:
    """The library's names of the trunk's tensors to their shapes, in the library's order."""
    with torch.device("meta"):
        return {
            name: tensor.shape for name, tensor in networks.build_trunk(arch, channels=channels)[0].state_dict().items()
        }


def _signature(shapes: Mapping[str, torch.Size]) -> Signature:
    """(bottleneck blocks?, blocks of layer1..layer4, shape of the first 3x3 convolution): what tells trunks apart."""
    hits = [re.match(r"layer([1-4])\.(\d{1,3})\.", str(name)) for name in shapes]
    depths = tuple(max((int(hit[2]) + 1 for hit in hits if hit and hit[1] == layer), default=0) for layer in "1234")
    bottleneck = any(str(name).endswith(".conv3.weight") for name in shapes)
    first = tuple(shapes.get("layer1.0.conv2.weight", ()))
    return bottleneck, depths, first[:2]


@lru_cache
def _known() -> dict[Signature, str]:
    return {_signature(shapes_of(arch)): arch for arch in TRUNKS}


def infer_arch(where: str, tensors: Mapping[str, Any]) -> str:
    """The torchvision name of the network that tensors under torchvision's names belong to.

    Raises:
        UserError: none of torchvision's.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    signature = _signature(shapes)
    arch = _known().get(signature)
    stem = shapes.get("conv1.weight", torch.Size((64, 3, 7, 7)))
    if len(stem) == 4 and stem[-1] != 7:
        raise UserError(
            f"{where} has a stem of {stem[-1]}x{stem[-1]} pixels, as networks for CIFAR have: a ResNet of torchvision, "
            "timm or detectron2 begins with 7x7 and cannot hold it."
        )
    if len(stem) == 4 and stem[0] != 64:
        raise UserError(
            f"{where} is wider than 64 channels from its stem on ({stem[0]}), as SwAV's resnet50w2 or VICReg's "
            "resnet50x2: torchvision and timm have no such network; give the checkpoint of one that is 1x wide."
        )
    if arch is None:
        kind = "bottleneck" if signature[0] else "basic"
        raise UserError(
            f"{where} holds {list(signature[1])} {kind} blocks in layer1..layer4 with a first 3x3 convolution of "
            f"{signature[2]}, which is none of {', '.join(TRUNKS)}: give the checkpoint of one of these."
        )
    return arch


def with_counters(tensors: Mapping[str, Any], arch: str) -> dict[str, Any]:
    """`tensors`, with zeros for BN's counters where there are none at all, as torch itself does on loading."""
    counters = [name for name in shapes_of(arch) if name.endswith(COUNTER)]
    if any(name in tensors for name in counters):
        return dict(tensors)
    return {**tensors, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}


def check_trunk(tensors: Mapping[str, Any], arch: str, where: str, channels: int = 3) -> dict[str, Tensor]:
    """The tensors of `arch` in torchvision's order, float32 (counters int64) and contiguous, when exactly the trunk's.

    Args:
        tensors: under torchvision's names.
        arch: torchvision's name of the network.
        where: the file, for the sentence.
        channels: of the images.

    Raises:
        UserError: a tensor is missing, left over, of the wrong shape, not finite, or of numbers that float32 cannot
            hold; the first few are named.
    """
    shapes = shapes_of(arch, channels)
    shared = [name for name in shapes if isinstance(tensors.get(name), Tensor)]
    fitting = {name: tensors[name] for name in shared if tensors[name].shape == shapes[name]}
    without = not any(name.endswith(STATISTICS) for name in shared)
    faults = {
        "has no running statistics, so that its normalisation is no BatchNorm's, and lacks" if without else "lacks": [
            name for name in shapes if name not in tensors
        ],
        "holds beyond the trunk": [name for name in tensors if name not in shapes],
        "has the wrong shape in": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(shapes[name])}"
            for name in shared
            if name not in fitting
        ],
        **unfit(tensors),
        "has values that are not finite in": [name for name, one in fitting.items() if not finite(one)],
        "has values that float32 cannot hold in": [name for name, one in fitting.items() if beyond_float32(one)],
        "counts batches by no whole number in": [
            name
            for name, one in fitting.items()
            if name.endswith(COUNTER) and one.is_floating_point() and not is_whole(one)
        ],
    }
    told = [f"{fault} {first_few(names)}" for fault, names in faults.items() if names]
    if told:
        raise UserError(f"{where} is not a whole {arch} trunk: it {'; it '.join(told)}.")
    return {name: as_held(name, tensors[name]) for name in shapes}


def check_numbers(tensors: Mapping[str, Any], where: str) -> None:
    """Hold the kinds of numbers against those of a trunk, before its architecture is told by shapes.

    Raises:
        UserError: sparse, quantised, complex, 8-bit or whole numbers where weights belong.
    """
    told = [f"{fault} {first_few(names)}" for fault, names in unfit(tensors).items() if names]
    if told:
        raise UserError(f"{where} {'; it '.join(told)}: save the weights as plain float32 tensors where it was made.")


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of the bytes of tensors, in their order."""
    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def first_few(names: Iterable[Any], limit: int = 4) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(shortened, names[:limit])) + rest
