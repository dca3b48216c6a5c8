"""What torchvision, timm, nn.Sequential, detectron2 and transformers call the same tensors of a ResNet.

timm's ResNets have torchvision's names and, like torchvision, the stride in the 3x3 convolution; mmdetection's with
style="pytorch" as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# nn.Sequential(*resnet.children()): a child's index stands for its name; 2 and 3 are ReLU and pooling
CHILD_NAMES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4", "9": "fc"}
IN_TRANSFORMERS = {"conv": "convolution", "bn": "normalization"}


def detectron2_name(name: str) -> str:
    """torchvision's name of a trunk tensor to detectron2's: layer1.0.bn1.bias to res2.0.conv1.norm.bias."""
    name = re.sub(r"^(?=conv1|bn1)", "stem.", name)
    name = re.sub(r"^layer(\d)", lambda hit: f"res{int(hit[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def from_detectron2_name(name: str) -> str:
    """The inverse of `detectron2_name`."""
    name = re.sub(r"^stem\.", "", name)
    name = re.sub(r"^res(\d)", lambda hit: f"layer{int(hit[1]) - 1}", name)
    name = re.sub(r"\bconv(\d)\.norm\b", r"bn\1", name)
    name = re.sub(r"\bshortcut\.norm\b", "downsample.1", name)
    return re.sub(r"\bshortcut\b", "downsample.0", name)


def from_child_name(name: str) -> str:
    """The name of a tensor of nn.Sequential(*resnet.children()) to torchvision's: 4.0.bn1.bias to layer1.0.bn1.bias."""
    child, dot, rest = name.partition(".")
    return CHILD_NAMES.get(child, child) + dot + rest


def from_transformers_name(name: str) -> str:
    """transformers' name to torchvision's: encoder.stages.0.layers.1.layer.0.convolution to layer1.1.conv1."""
    name = name.replace("embedder.embedder.convolution.", "conv1.").replace("embedder.embedder.normalization.", "bn1.")
    name = re.sub(r"^encoder\.stages\.(\d)\.layers\.", lambda hit: f"layer{int(hit[1]) + 1}.", name)
    name = re.sub(r"\blayer\.(\d)\.convolution\b", lambda hit: f"conv{int(hit[1]) + 1}", name)
    name = re.sub(r"\blayer\.(\d)\.normalization\b", lambda hit: f"bn{int(hit[1]) + 1}", name)
    return name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")


def transformers_name(name: str) -> str:
    """The inverse of `from_transformers_name`, for a trunk's tensors."""
    name = re.sub(r"^layer(\d)\.", lambda hit: f"encoder.stages.{int(hit[1]) - 1}.layers.", name)
    name = re.sub(r"^(conv|bn)1\.", lambda hit: f"embedder.embedder.{IN_TRANSFORMERS[hit[1]]}.", name)
    name = re.sub(r"\.(conv|bn)(\d)\.", lambda hit: f".layer.{int(hit[2]) - 1}.{IN_TRANSFORMERS[hit[1]]}.", name)
    return name.replace("downsample.0", "shortcut.convolution").replace("downsample.1", "shortcut.normalization")


@dataclass(frozen=True)
class Naming:
    """How a project calls a ResNet's tensors.

    first: the name of the first convolution's weight. to_torchvision: renames any tensor's.
    peer: whose network has these names, for comparing features (transfer/convert/peers.py); empty for torchvision's.
    """

    first: str
    to_torchvision: Callable[[str], str]
    peer: str = ""


TORCHVISION = Naming("conv1.weight", str)
CHILDREN = Naming("0.weight", from_child_name, "sequential")
DETECTRON2 = Naming("stem.conv1.weight", from_detectron2_name, "detectron2")
TRANSFORMERS = Naming("embedder.embedder.convolution.weight", from_transformers_name, "transformers")
