"""What a frozen network gives at each of five stages: maps, or maps pooled to about 9,000 numbers (Goyal et al., 2019).

The windows of the pooling are those of facebookresearch/fair_self_supervision_benchmark for images of 224 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from pretrain.models import TRUNKS, trunks
from pretrain.runtime.errors import UserError
from transfer.features.rows import Features
from transfer.options import STAGES

STRIDES = (2, 4, 8, 16, 32)  # of the stages' maps, in pixels of the image
OF_TORCHVISION = ("relu", "layer1", "layer2", "layer3", "layer4")  # where the stages of its ResNets end
NUMBERS = 9216  # of a pooled map at most
# sides of a map and of what it is pooled to, and the window, its stride and its padding
WINDOWS = {(112, 12): (10, 10, 4), (56, 6): (16, 8, 0), (28, 4): (13, 5, 0), (14, 3): (8, 3, 0), (7, 2): (6, 1, 0)}


def modules_of(arch: str, trunk: nn.Module, what: str, stages: Sequence[str] = STAGES) -> dict[str, str]:
    """By stage the name of the module that gives its map: res1 is the last one at stride 2, res5 at stride 32.

    Args:
        arch: the network's name.
        trunk: it; of timm it says in `feature_info` where its stages end.
        what: looks at them, for the message.
        stages: those that are wanted.

    Raises:
        UserError: it has no map of one of these strides, as a vision transformer.
    """
    strides = {name: STRIDES[STAGES.index(name)] for name in stages}
    if arch in TRUNKS:
        return {name: OF_TORCHVISION[STAGES.index(name)] for name in stages}
    told = getattr(trunk, "feature_info", None)
    listed = told if isinstance(told, list) else []
    present = dict(trunk.named_modules())  # timm's HRNets name stages that are no modules
    ends = {one["reduction"]: one["module"] for one in listed if not one.get("hook_type") and one["module"] in present}
    if lacking := [stride for stride in strides.values() if stride not in ends]:
        none = ", ".join(map(str, lacking))
        raise UserError(
            f"{what} looks at maps of strides {_listed(strides.values())}, and {arch} has none of {none}: choose a "
            "ResNet, or another network of convolutions with these stages."
        )
    return {name: ends[stride] for name, stride in strides.items()}


def _listed(strides: Iterable[int]) -> str:
    """ "4, 8 and 16"."""
    *first, last = map(str, strides)
    return f"{', '.join(first)} and {last}" if first else last


def stage_maps(
    trunk: nn.Module, modules: Mapping[str, str], images: torch.Tensor, last: str | None = None
) -> dict[str, torch.Tensor]:
    """Map (n, C, h, w) of each stage in `modules` up to `last`, of which the network computes no more than it must.

    Args:
        trunk: the network.
        modules: by stage, as of `modules_of`.
        images: (n, 3, S, S).
        last: name of a stage; None for the last one in `modules`.
    """
    last = last or max(modules, key=STAGES.index)
    found: dict[str, torch.Tensor] = {}

    def kept(name: str, _module: nn.Module, _given: object, values: torch.Tensor) -> None:
        found[name] = values
        if name == last:
            raise _Done

    wanted = [name for name in STAGES[: STAGES.index(last) + 1] if name in modules]
    hooks = [trunk.get_submodule(modules[name]).register_forward_hook(partial(kept, name)) for name in wanted]
    try:
        trunk(images)
    except _Done:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[name] for name in wanted}


class _Done(Exception):
    """The last stage that is wanted has been computed."""


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

    def __init__(self, trunk: nn.Module, modules: Mapping[str, str]) -> None:
        super().__init__()
        self.trunk, self.modules_of_stages = trunk, modules

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, sum of `stage_widths`)."""
        return torch.cat(
            [pooled(values) for values in stage_maps(self.trunk, self.modules_of_stages, images).values()], dim=1
        )


class StageMap(nn.Module):
    """A trunk whose row is the map of one stage, channel by channel."""

    def __init__(self, trunk: nn.Module, modules: Mapping[str, str], stage: str) -> None:
        super().__init__()
        self.trunk, self.modules_of_stages, self.stage = trunk, modules, stage

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, S, S) to (n, C · h · w)."""
        return stage_maps(self.trunk, self.modules_of_stages, images, self.stage)[self.stage].flatten(1)


def stage_shapes(
    arch: str, image_size: int, what: str, stages: Sequence[str] = STAGES
) -> tuple[dict[str, str], dict[str, torch.Size]]:
    """Where the stages of a network end (as of `modules_of`), and the shapes (1, C, h, w) of their maps.

    Args:
        arch: the network's name.
        image_size: side of the images, in pixels.
        what: looks at the maps, for the message.
        stages: those that are wanted.

    Raises:
        UserError: the network lacks one of the stages.
    """
    with torch.device("meta"), torch.no_grad():
        trunk = trunks.plain_trunk(arch).eval()
        modules = modules_of(arch, trunk, what, stages)
        maps = stage_maps(trunk, modules, torch.zeros(1, 3, image_size, image_size))
    return modules, {name: values.shape for name, values in maps.items()}


def width_of_pooled(shape: torch.Size) -> int:
    """Numbers of a pooled map that was (n, C, h, w)."""
    return int(pooled(torch.empty(shape, device="meta")).shape[1])


def stage_rows(
    rows_of: Callable[[str, Callable[[nn.Module], nn.Module], int], tuple[Features, Features]],
    arch: str,
    image_size: int,
) -> dict[str, tuple[Features, Features]]:
    """Rows (train, val) of each stage's pooled maps, all computed in one pass over the images.

    Args:
        rows_of: as `Subject.other_rows`.
        arch: the network's name.
        image_size: side of the images.

    Raises:
        UserError: the network has no five stages.
    """
    modules, shapes = stage_shapes(arch, image_size, "an evaluation by stages")
    widths = {name: width_of_pooled(shape) for name, shape in shapes.items()}
    whole, first = rows_of("stages", partial(Stages, modules=modules), sum(widths.values())), 0
    cut = {}
    for name, width in widths.items():
        cut[name] = _cut(whole[0], first, width), _cut(whole[1], first, width)
        first += width
    return cut


def _cut(whole: Features, first: int, width: int) -> Features:
    rows = whole.rows
    cut = rows[:, first : first + width] if isinstance(rows, torch.Tensor) else rows.columns(first, width)
    return replace(whole, rows=cut)
