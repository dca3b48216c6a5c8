"""A 1x1 convolution from a frozen map to depth, fitted exactly by least squares, and its errors.

Every cell of a map is a row whose target is the mean depth below it, and which weighs as much as its known pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from transfer.classifiers import depth_errors
from transfer.classifiers.linear import frozen_map
from transfer.classifiers.linear.frozen_map import CHUNK, Convolution, Tried

PROTOCOL = "1x1 convolution from a frozen map to depth, exact least squares over cells, no augmentation"
DECAYS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
DepthOf = Callable[[int], np.ndarray]  # the depth image (H, W) of a place in metres, 0 where it is not known


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
    rows, wanted = frozen_map.cells_of(maps), depths.flatten().to(maps.device)
    weights = shares.flatten().to(maps.device)
    weights = weights / weights.sum()
    start, bias = frozen_map.standardiser(rows, weights, 1), weights @ wanted
    moments = bias.new_zeros(rows.shape[1], rows.shape[1] + 1)  # of rows with each other, and with the depth last
    for part, weight, depth in zip(*(torch.split(one, CHUNK) for one in (rows, weights, wanted)), strict=True):
        standardised = start.standardised(part)
        moments += (standardised * weight[:, None]).T @ torch.cat([standardised, (depth - bias)[:, None]], dim=1)
    variances, axes = torch.linalg.eigh(moments[:, :-1])
    along = axes.T @ moments[:, -1]
    found = (axes @ (along / (variances.clamp(min=0) + decay)) for decay in decays)
    return [replace(start, weight=weight[None], bias=bias[None]) for weight in found]


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

    def tried(kept: list[int], out: list[int]) -> Tried:
        """No number where no pixel to learn from, or none that is held out, has a depth."""
        if shares[kept].sum() > 0:
            for decay, one in zip(DECAYS, fits(maps[kept], depths[kept], shares[kept], DECAYS), strict=True):
                found = errors_of(one, maps[out], lambda at: depth_of(out[at]))[depth_errors.ROOT_MEAN_SQUARE]
                yield decay, float(np.nanmean(found)) if np.isfinite(found).any() else math.nan

    decay, details = frozen_map.choose_decay(len(maps), share, seed, tried, DECAYS[0], "RMSE", min)
    (fitted,) = fits(maps, depths, shares, [decay])
    return fitted, details


def errors_of(fitted: Convolution, maps: torch.Tensor, depth_of: DepthOf) -> dict[str, np.ndarray]:
    """By metric what `depth_errors.errors` says of each image (n,); depths are enlarged to each image bilinearly."""
    found = []
    for at in range(len(maps)):
        truth = depth_of(at)
        found.append(depth_errors.errors(fitted.enlarged(maps[at], truth.shape)[0].cpu().numpy(), truth))
    return {name: np.array([one[name] for one in found]) for name in depth_errors.METRICS}
