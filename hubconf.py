"""Entry point of torch.hub: torch.hub.load(REPOSITORY, "trunk", path="checkpoint.pth"); a clone is source="local"."""

from __future__ import annotations

from pathlib import Path

from torch import nn

dependencies = ["torch", "torchvision", "numpy", "fvcore", "omegaconf", "safetensors", "yaml"]


def trunk(path: str | Path, branch: str | None = None, arch: str | None = None) -> nn.Module:
    """A torchvision ResNet in eval mode, `fc` the identity, from any checkpoint that tools/convert.py knows.

    Args:
        path: the file, or hf:USER/NAME on the hub; no weights are published with this repository.
        branch: online or target of a training checkpoint; None for the one that its project evaluates.
        arch: torchvision's name of the network that the file must hold; None to take what it holds.

    Raises:
        pretrain.runtime.errors.UserError: no whole trunk; the sentence says what is wrong with the file.
    """
    from pretrain.weights.hub.fetch import fetched
    from pretrain.weights.read_trunk import read_trunk
    from pretrain.weights.trunk import plain_trunk

    return plain_trunk(read_trunk(fetched(path), branch, arch))
