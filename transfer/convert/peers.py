"""The network that a checkpoint's own project builds, filled under its own names: what a conversion is compared with.

A peer knows nothing of how conversion renames tensors. Where its library is not installed, torchvision's network stands
in, filled under torchvision's names. PEERS is the list; layouts and namings of `pretrain.weights` name its entries.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torchvision
from torch import Tensor, nn

from pretrain.models.trunks import is_timm
from pretrain.runtime.errors import UserError
from pretrain.weights.numbers import COUNTER
from pretrain.weights.trunk import TrunkFile, build_trunk, first_few, plain_trunk


@dataclass(frozen=True)
class Peer:
    """library: whose network it is, in words.

    stages: (trunk_file, images (N, 3, H, W)) to the outputs of res2..res5 of that network.
    """

    library: str
    stages: Callable[[TrunkFile, Tensor], Sequence[Tensor]]


PEERS = {  # "module:function", each imported when it is needed
    "sequential": "transfer.convert.peers:sequential_peer",
    "timm": "transfer.convert.peers:timm_peer",
    "transformers": "transfer.convert.peers:transformers_peer",
    "detectron2": "transfer.detection.modeling.verify:detectron2_peer",
}


def stages(trunk: nn.Module, images: Tensor) -> list[Tensor]:
    """Outputs of layer1..layer4 of torchvision's or timm's ResNet for images (N, 3, H, W)."""
    parts = dict(trunk.named_children())
    activation = parts["act1"] if "act1" in parts else parts["relu"]
    features = parts["maxpool"](activation(parts["bn1"](parts["conv1"](images))))
    outputs = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        features = parts[name](features)
        outputs.append(features)
    return outputs


def peer_of(trunk_file: TrunkFile) -> Peer:
    """The source's own network where its library is installed, else torchvision's."""
    module, _, function = PEERS.get(trunk_file.peer, "").partition(":")
    if is_timm(trunk_file.arch):
        return Peer("timm", lambda trunk, images: [plain_trunk(trunk).to(images.dtype)(images)])
    own: Peer | None = getattr(importlib.import_module(module), function)() if module else None
    return own or Peer("torchvision", lambda trunk, images: stages(build_trunk(trunk).to(images.dtype), images))


def filled(network: nn.Module, trunk_file: TrunkFile) -> nn.Module:
    """`network` in eval mode with the source's tensors under the source's names.

    Raises:
        UserError: the network lacks a name of the source, or the source one of the network's.
    """
    own: Mapping[str, Tensor] = {name: trunk_file.state[key] for key, name in trunk_file.own_names.items()}
    found = network.load_state_dict(own, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(COUNTER)]  # files may have no counters
    if missing or found.unexpected_keys:
        raise UserError(
            f"the {trunk_file.layout} file's names are not those of its project's {trunk_file.arch}: "
            f"{first_few([*missing, *found.unexpected_keys])}; it was made by another version of that project."
        )
    return network.eval()


def sequential_peer() -> Peer:
    """nn.Sequential of the children of torchvision's ResNet."""

    def run(trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
        """Outputs of the four stages; the children have no names but numbers, so stages are told by place."""
        whole = torchvision.models.get_model(trunk_file.arch, weights=None)
        network = filled(nn.Sequential(*list(whole.children())[:-1]), trunk_file).to(images.dtype)
        outputs = []
        for child in network.children():
            images = child(images)
            outputs.append(images)
        return outputs[4:8]

    return Peer("nn.Sequential of torchvision's children", run)


def timm_peer() -> Peer | None:
    """timm's network of the name that the file states."""
    if not importlib.util.find_spec("timm"):
        return None

    def run(trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
        """Outputs of the four stages of timm's network, of the stated name or, where timm has none, of the trunk's."""
        import timm

        named = trunk_file.stated if timm.is_model(trunk_file.stated) else trunk_file.arch
        network = timm.create_model(named, pretrained=False, num_classes=0)
        return stages(filled(network, trunk_file).to(images.dtype), images)

    return Peer("timm", run)


def transformers_peer() -> Peer | None:
    """transformers' ResNetModel, which has neither wide nor grouped bottlenecks."""
    if not importlib.util.find_spec("transformers"):
        return None

    def run(trunk_file: TrunkFile, images: Tensor) -> list[Tensor]:
        """Outputs of the four stages of a ResNetModel whose depths and widths are the trunk's."""
        return stages_of_transformers(filled(transformers_network(trunk_file.arch), trunk_file), images)

    return Peer("transformers", run)


def transformers_network(arch: str) -> nn.Module:
    """transformers' own network of the depths and widths of one of torchvision's, at random."""
    from transformers import ResNetConfig, ResNetModel

    whole = torchvision.models.get_model(arch, weights=None)
    layers = [whole.layer1, whole.layer2, whole.layer3, whole.layer4]
    basic = not hasattr(whole.layer1[0], "conv3")
    config = ResNetConfig(
        depths=[len(layer) for layer in layers],
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        layer_type="basic" if basic else "bottleneck",
    )
    network: nn.Module = ResNetModel(config)
    return network


def stages_of_transformers(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Outputs of the four stages of transformers' ResNetModel for images (N, 3, H, W), in their precision."""
    found: Sequence[Tensor] = network.to(images.dtype)(images, output_hidden_states=True).hidden_states
    return list(found[1:])
