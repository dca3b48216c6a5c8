"""Trunks: a library's own network without its classifier, as it is or with the norms and convolutions of training.

A name is torchvision's, of its ResNets, or timm/NAME, of any network of timm that gives pooled features.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torchvision
from torch import nn

from pretrain.models import TIMM, TRUNKS, batchnorm, convolution
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime.errors import UserError


def is_timm(arch: str) -> bool:
    """Whether a trunk's name is one of timm's."""
    return arch.startswith(TIMM)


def build_trunk(arch: str, zero_init_residual: bool = True, channels: int = 3) -> tuple[nn.Module, int]:
    """A network without its classifier, with statistics of each view in its norms, and its features' width.

    Args:
        arch: one of TRUNKS, or timm/NAME.
        zero_init_residual: whether the last norm of each residual block begins at weight 0, where the network knows it.
        channels: of the images; the first layer of another number than 3 is drawn anew, as the library draws it.

    Raises:
        UserError: there is no such network, timm is not installed, or it normalises in a way that is not known here.
    """
    if is_timm(arch):
        trunk = _of_timm(arch, zero_init_residual, channels)
        width = int(getattr(trunk, "head_hidden_size", None) or trunk.num_features)
        batchnorm.use_in(trunk)
        return trunk, width
    trunk, width = _resnet(arch, zero_init_residual, channels, ViewBatchNorm)
    convolution.use_in(trunk)
    return trunk, width


def plain_trunk(arch: str, channels: int = 3) -> nn.Module:
    """The library's own network without its classifier: (N, channels, H, W) images to (N, width) features.

    Raises:
        UserError: there is no such network, or timm is not installed.
    """
    network: nn.Module = _of_timm(arch, True, channels) if is_timm(arch) else _resnet(arch, False, channels, None)[0]
    return network


def width_of(arch: str) -> int:
    """Channels of a trunk's features.

    Raises:
        UserError: as of build_trunk.
    """
    with torch.device("meta"):
        return build_trunk(arch)[1]


def usual_size(arch: str) -> int:
    """The side, in pixels, of the images that a network is made for."""
    if not is_timm(arch):
        return 224
    return int(timm_defaults(arch)["input_size"][-1])


@lru_cache
def timm_defaults(arch: str) -> Mapping[str, Any]:
    """What timm says of timm/NAME: "input_size" (C, H, W), "mean" and "std" of its own weights, "classifier".

    Raises:
        UserError: as of build_trunk.
    """
    with torch.device("meta"):
        said: Mapping[str, Any] = _of_timm(arch, True, 3).default_cfg
    return said


def check_trunk(arch: str, channels: int, sizes: Sequence[int]) -> None:
    """Refuse a trunk that does not exist, or that does not take images of these sides in pixels.

    Args:
        arch: one of TRUNKS, or timm/NAME.
        channels: of the images.
        sizes: of the views.

    Raises:
        UserError: saying which, and what would do.
    """
    if arch in TRUNKS:
        return
    with torch.device("meta"), torch.no_grad():
        trunk, width = build_trunk(arch, channels=channels)
        for side in sizes:
            try:
                shape = tuple(trunk.eval()(torch.zeros(1, channels, side, side)).shape)
            except (RuntimeError, AssertionError, ValueError) as error:
                reason = " ".join(str(error).split())[:120]
                raise UserError(
                    f"model.arch={arch} does not take views of {side} pixels ({reason}): it is made for "
                    f"{usual_size(arch)}; set views.size, and views.local_size where there are local views."
                ) from error
            if shape != (1, width):
                raise UserError(
                    f"model.arch={arch} gives features of shape {shape}, which are not pooled to (n, {width}): choose "
                    "another network of timm."
                )


def _of_timm(arch: str, zero_init_residual: bool, channels: int) -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"model.arch={arch} needs timm, which is not installed: `pip install timm`, or choose one of torchvision's "
            f"{', '.join(TRUNKS)}."
        ) from error
    name = arch.removeprefix(TIMM)
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), 1)
        hint = f" (did you mean {TIMM}{nearest[0]}?)" if nearest else ""
        raise UserError(f"model.arch={arch} is no network of timm {timm.__version__}{hint}.")
    try:
        return _created(timm.create_model, name, zero_init_residual, channels)
    except (NotImplementedError, RuntimeError):
        if torch.empty(0).device.type != "meta":
            raise
        with torch.device("cpu"):  # some networks of timm older than 1.0.30 ask for numbers while they are made
            return _created(timm.create_model, name, zero_init_residual, channels).to("meta")


def _created(create: Callable[..., Any], name: str, zero_init_residual: bool, channels: int) -> Any:
    """A network of timm, with what only some take: views of several sizes, and how residual branches begin."""
    known: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
    for key, value in (("dynamic_img_size", True), ("zero_init_last", zero_init_residual)):
        further: dict[str, Any] = {**known, key: value}
        with contextlib.suppress(TypeError):
            return create(name, **further)
    return create(name, **known)


def _resnet(
    arch: str, zero_init_residual: bool, channels: int, norm: Callable[..., nn.Module] | None
) -> tuple[nn.Module, int]:
    if arch not in TRUNKS:
        nearest = difflib.get_close_matches(arch, TRUNKS, 1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise UserError(f"model.arch={arch} is not known{hint}: choose one of {', '.join(TRUNKS)}, or {TIMM}NAME.")
    trunk = torchvision.models.get_model(arch, weights=None, zero_init_residual=zero_init_residual, norm_layer=norm)
    width = trunk.fc.in_features
    trunk.fc = nn.Identity()
    if channels != 3:
        trunk.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    return trunk, width
