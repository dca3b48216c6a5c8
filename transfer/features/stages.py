"""What a frozen ResNet gives at each of its stages: maps, or maps pooled to about 9,000 numbers (Goyal et al., 2019).

The windows of the pooling are those of facebookresearch/fair_self_supervision_benchmark for images of 224 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from pretrain.models import TRUNKS, trunks
from pretrain.runtime.errors import UserError
from transfer.features.rows import Features
from transfer.options import STAGES

NUMBERS = 9216  # of a pooled map at most
# sides of a map and of what it is pooled to, and the window, its stride and its padding
WINDOWS = {(112, 12): (10, 10, 4), (56, 6): (16, 8, 0), (28, 4): (13, 5, 0), (14, 3): (8, 3, 0), (7, 2): (6, 1, 0)}


def check_stages(arch: str, what: str) -> None:
    """Refuse a network whose stages are not known here.

    Raises:
        UserError: it is none of torchvision's ResNets.
    """
    if arch not in TRUNKS:
        raise UserError(f"{what} looks at the stages of a ResNet, and {arch} is none of {', '.join(TRUNKS)}.")


def stage_maps(trunk: nn.Module, images: torch.Tensor, last: str = STAGES[-1]) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and map (n, C, h, w) of each stage of a ResNet in torchvision's names, up to `last`."""
    layers = trunk.get_submodule
    values = layers("relu")(layers("bn1")(layers("conv1")(images)))
    yield STAGES[0], values
    values = layers("maxpool")(values)
    for number, name in enumerate(STAGES[1 : STAGES.index(last) + 1], 1):
        values = layers(f"layer{number}")(values)
        yield name, values


def pooled(values: torch.Tensor) -> torch.Tensor:
    """A map (n, C, h, w) pooled to a grid of at most NUMBERS numbers, (n, C · grid²).

    The published window where there is one for the side; for other images the grid is the same, and adaptive.
    """
    channels, side = values.shape[1], min(values.shape[2:])
    grid = min(side, max(1, math.isqrt(NUMBERS // channels)))
    window = WINDOWS.get((side, grid)) if values.shape[2] == values.shape[3] else None
    if window:
        kernel, stride, padding = window
        values = functional.avg_pool2d(values, kernel, stride, padding)
    else:
        values = functional.adaptive_avg_pool2d(values, grid)
    return values.flatten(1)


class Stages(nn.Module):
    """A trunk whose rows are the pooled maps of all of its stages, one after the other."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, sum of `stage_widths`)."""
        return torch.cat([pooled(values) for _, values in stage_maps(self.trunk, images)], dim=1)


class StageMap(nn.Module):
    """A trunk whose row is the map of one stage, channel by channel."""

    def __init__(self, trunk: nn.Module, stage: str) -> None:
        super().__init__()
        self.trunk, self.stage = trunk, stage

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, C · h · w)."""
        *_, (_, values) = stage_maps(self.trunk, images, self.stage)
        return values.flatten(1)


def stage_shape(arch: str, image_size: int, stage: str) -> tuple[int, int, int]:
    """(C, h, w) of the map of a stage for images of that side.

    Raises:
        UserError: the network is none of torchvision's ResNets.
    """
    check_stages(arch, "an evaluation of a stage's map")
    with torch.device("meta"), torch.no_grad():
        trunk = trunks.plain_trunk(arch).eval()
        *_, (_, values) = stage_maps(trunk, torch.zeros(1, 3, image_size, image_size), stage)
    _, channels, height, width = values.shape
    return channels, height, width


def stage_widths(arch: str, image_size: int) -> dict[str, int]:
    """Numbers of each stage's pooled map for images of that side.

    Raises:
        UserError: the network is none of torchvision's ResNets.
    """
    check_stages(arch, "an evaluation by stages")
    with torch.device("meta"), torch.no_grad():
        trunk = trunks.plain_trunk(arch).eval()
        images = torch.zeros(1, 3, image_size, image_size)
        return {name: pooled(values).shape[1] for name, values in stage_maps(trunk, images)}


def stage_rows(
    rows_of: Callable[[str, Callable[[nn.Module], nn.Module], int], tuple[Features, Features]],
    arch: str,
    image_size: int,
) -> dict[str, tuple[Features, Features]]:
    """Rows (train, val) of each stage's pooled maps, all computed in one pass over the images.

    Args:
        rows_of: as `Subject.other_rows`.
        arch: torchvision's name of the network.
        image_size: side of the images.

    Raises:
        UserError: the network is none of torchvision's ResNets.
    """
    widths = stage_widths(arch, image_size)
    whole, first = rows_of("stages", Stages, sum(widths.values())), 0
    cut = {}
    for name, width in widths.items():
        cut[name] = _cut(whole[0], first, width), _cut(whole[1], first, width)
        first += width
    return cut


def _cut(whole: Features, first: int, width: int) -> Features:
    rows = whole.rows
    cut = rows[:, first : first + width] if isinstance(rows, torch.Tensor) else rows.columns(first, width)
    return replace(whole, rows=cut)
