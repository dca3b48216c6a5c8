"""Trunks: a library's own network without its classifier, as it is or with the norms and convolutions of training."""

from __future__ import annotations

from collections.abc import Callable

import torchvision
from torch import nn

from pretrain.models import TRUNKS, convolution
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime.errors import UserError


def build_trunk(arch: str, zero_init_residual: bool = True, channels: int = 3) -> tuple[nn.Module, int]:
    """A torchvision ResNet whose `fc` is the identity and whose norms are ViewBatchNorms, and its features' width.

    Args: channels, of the images; the first layer of another number than 3 is drawn anew, as torchvision draws it.

    Raises:
        UserError: `arch` is none of TRUNKS.
    """
    trunk, width = _resnet(arch, zero_init_residual, channels, ViewBatchNorm)
    convolution.use_in(trunk)
    return trunk, width


def plain_trunk(arch: str, channels: int = 3) -> nn.Module:
    """The library's own network without its classifier: (N, channels, H, W) images to (N, width) features.

    Raises:
        UserError: `arch` is none of TRUNKS.
    """
    return _resnet(arch, False, channels, None)[0]


def _resnet(
    arch: str, zero_init_residual: bool, channels: int, norm: Callable[..., nn.Module] | None
) -> tuple[nn.Module, int]:
    if arch not in TRUNKS:
        raise UserError(f"model.arch={arch} is not known: choose one of {', '.join(TRUNKS)}.")
    trunk = torchvision.models.get_model(arch, weights=None, zero_init_residual=zero_init_residual, norm_layer=norm)
    width = trunk.fc.in_features
    trunk.fc = nn.Identity()
    if channels != 3:
        trunk.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    return trunk, width
