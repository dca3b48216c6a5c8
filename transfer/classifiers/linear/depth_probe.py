"""A 1x1 convolution from a frozen map to depth, fitted exactly by least squares, and its errors.

Every cell of a map is a row whose target is the mean depth below it, and which weighs as much as its known pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from transfer.classifiers import depth_errors

PROTOCOL = "1x1 convolution from a frozen map to depth, exact least squares over cells, no augmentation"
DECAYS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
CHUNK = 2**14  # cells at once
DepthOf = Callable[[int], np.ndarray]  # the depth image (H, W) of a place in metres, 0 where it is not known


@dataclass(frozen=True)
class Convolution:
    """weight (C,) and bias, float64, of cells standardised by mean and std (C,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def depths(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to (n, h, w) in metres."""
        return ((maps.permute(0, 2, 3, 1).double() - self.mean) / self.std) @ self.weight + self.bias


def cell_depths(depth: np.ndarray, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean depth of the known pixels of each cell of a grid (h, w), and their share of it, both (h, w)."""
    values = torch.from_numpy(depth)[None].double()
    known = (values > depth_errors.NEAREST) & (values < depth_errors.FARTHEST)
    total, share = (functional.adaptive_avg_pool2d(part.double(), grid)[0] for part in (values * known, known))
    return torch.where(share > 0, total / share.clamp(min=1e-12), 0.0), share


def fits(maps: torch.Tensor, depths: torch.Tensor, shares: torch.Tensor, decays: Sequence[float]) -> list[Convolution]:
    """For each decay the minimum of the weighted mean of squared errors + decay · ‖weight‖², in closed form.

    Args:
        maps: (n, C, h, w).
        depths, shares: (n, h, w), as of `cell_depths`.
        decays: of the weight of standardised rows, not of the bias.
    """
    rows, wanted = maps.permute(0, 2, 3, 1).flatten(0, 2), depths.flatten().to(maps.device)
    weights = shares.flatten().to(maps.device)
    weights = weights / weights.sum()
    mean = _sum(rows, lambda part, weight, _: weight @ part, weights, wanted)
    std = _sum(rows, lambda part, weight, _: weight @ (part - mean).square(), weights, wanted).sqrt()
    std = torch.where(std > 1e-6 * std.max(), std, 1.0)
    bias = weights @ wanted

    def moments(part: torch.Tensor, weight: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Of standardised rows with each other, and in the last column with the depth."""
        standardised = (part - mean) / std
        return (standardised * weight[:, None]).T @ torch.cat([standardised, (depth - bias)[:, None]], dim=1)

    found = _sum(rows, moments, weights, wanted)
    variances, axes = torch.linalg.eigh(found[:, :-1])
    along = axes.T @ found[:, -1]
    return [Convolution(axes @ (along / (variances.clamp(min=0) + decay)), bias, mean, std) for decay in decays]


def _sum(
    rows: torch.Tensor,
    of_part: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    weights: torch.Tensor,
    wanted: torch.Tensor,
) -> torch.Tensor:
    """The sum of `of_part` over the rows, in float64 and a part at a time."""
    parts = zip(*(torch.split(one, CHUNK) for one in (rows, weights, wanted)), strict=True)
    return torch.stack([of_part(part.double(), weight, depth) for part, weight, depth in parts]).sum(0)


def choose_and_fit(
    maps: torch.Tensor, depth_of: DepthOf, share: float, seed: int
) -> tuple[Convolution, dict[str, object]]:
    """Choose the decay by the RMSE of a held-out slice of train, and refit on all of train.

    Args:
        maps: (n, C, h, w) of train.
        depth_of: their depth images.
        share: of the images that are held out, at least one.
        seed: of the slice.

    Returns: the convolution; and the decay, and the held-out RMSE of each in metres.
    """
    cells = [cell_depths(depth_of(at), (maps.shape[2], maps.shape[3])) for at in range(len(maps))]
    depths, shares = (torch.stack(part) for part in zip(*cells, strict=True))
    order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(seed)).tolist()
    out = sorted(order[: max(1, round(share * len(maps)))])
    kept = sorted(set(order) - set(out))
    rivals: dict[float, float] = {}
    if kept and shares[kept].sum() > 0:
        tried = fits(maps[kept], depths[kept], shares[kept], DECAYS)
        for decay, one in zip(DECAYS, tried, strict=True):
            found = errors_of(one, maps[out], lambda at: depth_of(out[at]))[depth_errors.ROOT_MEAN_SQUARE]
            if np.isfinite(found).any():
                rivals[decay] = float(np.nanmean(found))
    decay = min(rivals, key=rivals.__getitem__, default=DECAYS[0])
    (fitted,) = fits(maps, depths, shares, [decay])
    return fitted, {"weight_decay": decay, "held_out_RMSE": {f"{one:g}": value for one, value in rivals.items()}}


def errors_of(fitted: Convolution, maps: torch.Tensor, depth_of: DepthOf) -> dict[str, np.ndarray]:
    """By metric what `depth_errors.errors` says of each image (n,); depths are enlarged to each image bilinearly."""
    found = []
    for at in range(len(maps)):
        truth = depth_of(at)
        cells = fitted.depths(maps[at : at + 1])[None]
        given = functional.interpolate(cells, size=truth.shape, mode="bilinear")[0, 0].cpu().numpy()
        found.append(depth_errors.errors(given, truth))
    return {name: np.array([one[name] for one in found]) for name in depth_errors.METRICS}
