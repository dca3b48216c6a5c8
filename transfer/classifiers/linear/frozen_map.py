"""What the probes of a frozen map share: the maps, a 1x1 convolution on their cells, and the choice of its decay.

A cell of a map (C, h, w) is a row of C numbers, and the convolution is linear in the standardised cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from transfer.features.on_device import whole
from transfer.features.rows import Features
from transfer.features.stages import StageMap, stage_shapes

CHUNK = 2**14  # cells at once
RowsOf = Callable[[str, Callable[[nn.Module], nn.Module], int, bool], tuple[Features, Features]]
Tried = Iterable[tuple[float, float]]  # decays in turn, and of each the number on the held-out images, nan for none


@dataclass(frozen=True)
class FrozenMaps:
    """The map of a stage for each readable image.

    train, val: their rows (n, C · h · w), in memory or on disk. shape: (C, h, w). stage: its name.
    """

    train: Features
    val: Features
    shape: torch.Size
    stage: str

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, C, h, w) of train and of val."""
        train, val = (whole(part.rows, device).view(-1, *self.shape) for part in (self.train, self.val))
        return train, val

    def __str__(self) -> str:
        """For a protocol."""
        channels, height, width = self.shape
        return f"{self.stage} ({channels} channels, {height}x{width})"


def frozen_maps(
    rows_of: RowsOf, arch: str, image_size: int, stage: str, what: str, squashed: bool = False
) -> FrozenMaps:
    """The maps of a stage, computed once and shared as all rows are.

    Args:
        rows_of: as `Subject.other_rows`.
        arch: the network's name.
        image_size: side of the images.
        stage: name of the stage.
        what: looks at the maps, for the message.
        squashed: whether of whole images, squashed to a square, in place of the test crop.

    Raises:
        UserError: the network has no five stages.
    """
    modules, shapes = stage_shapes(arch, image_size, what)
    shape = shapes[stage][1:]
    around = partial(StageMap, modules=modules, stage=stage)
    return FrozenMaps(*rows_of(f"map {stage}", around, shape.numel(), squashed), shape, stage)


def cells_of(maps: torch.Tensor) -> torch.Tensor:
    """(n, C, h, w) to (n · h · w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


@dataclass(frozen=True)
class Convolution:
    """weight (outputs, C) and bias (outputs,), float64, of cells standardised by mean and std (C,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def standardised(self, cells: torch.Tensor) -> torch.Tensor:
        """Cells (..., C) in float64, of mean 0 and deviation 1 on train."""
        return (cells.double() - self.mean) / self.std

    def outputs(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to (n, outputs, h, w)."""
        return (self.standardised(maps.permute(0, 2, 3, 1)) @ self.weight.T + self.bias).permute(0, 3, 1, 2)

    def enlarged(self, one: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """The outputs (outputs, H, W) of a map (C, h, w), enlarged bilinearly to the size (H, W)."""
        return functional.interpolate(self.outputs(one[None]), size=tuple(size), mode="bilinear")[0]


def standardiser(cells: torch.Tensor, weights: torch.Tensor, outputs: int) -> Convolution:
    """A convolution of zeros that knows the mean and the deviation of training cells; a constant channel becomes 0.

    Args:
        cells: (n, C).
        weights: (n,), float64, of which the sum is 1.
        outputs: their number.
    """
    parts = list(zip(torch.split(cells, CHUNK), torch.split(weights, CHUNK), strict=True))
    zeros = weights.new_zeros(cells.shape[1])
    mean = sum((weight @ part.double() for part, weight in parts), zeros)
    std = sum((weight @ (part.double() - mean).square() for part, weight in parts), zeros).sqrt()
    std = torch.where(std > 1e-6 * std.max(), std, 1.0)
    return Convolution(zeros.new_zeros(outputs, len(zeros)), zeros.new_zeros(outputs), mean, std)


def choose_decay(
    images: int,
    share: float,
    seed: int,
    tried: Callable[[list[int], list[int]], Tried],
    strongest: float,
    metric: str,
    best: Callable[..., float],
) -> tuple[float, dict[str, object]]:
    """The weight decay with the best number on held-out images of train; and details: it, and the number of each.

    Args:
        images: of train.
        share: of them that is held out, at least one.
        seed: of the draw.
        tried: (kept, held out), places of images, to decays with their numbers.
        strongest: the decay that is taken where none has a number.
        metric: the name of the number.
        best: max or min.
    """
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()
    count = max(1, round(share * images))
    out, kept = sorted(order[:count]), sorted(order[count:])
    rivals = {decay: number for decay, number in tried(kept, out) if not math.isnan(number)} if kept else {}
    decay = best(rivals, key=rivals.__getitem__, default=strongest)
    return decay, {"weight_decay": decay, f"held_out_{metric}": {f"{one:g}": value for one, value in rivals.items()}}
