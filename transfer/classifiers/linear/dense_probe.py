"""A 1x1 convolution on the frozen map of a stage, fitted exactly, and its intersection over union.

Every cell of a map is a row whose target is the share of each class among the pixels that it covers. Fitting these
rows is fitting the convolution's scores, enlarged to the pixels without smoothing, by cross-entropy over all pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from transfer.classifiers import pixel_accuracy
from transfer.classifiers.linear import frozen_map
from transfer.classifiers.linear.frozen_map import CHUNK, Convolution, Tried
from transfer.classifiers.linear.logistic_regression import TOLERANCE

PROTOCOL = "1x1 convolution on a frozen map, exact cross-entropy over pixels, no augmentation"
DECAYS = (1.0, 1e-1, 1e-2, 1e-3)  # from strong to weak: each fit starts from the previous one
STEPS = 200  # of L-BFGS
IGNORED = 255


@dataclass(frozen=True)
class Cells:
    """rows (n · h · w, C) and targets (n · h · w, classes), shares of the pixels of a cell, IGNORED ones in none."""

    rows: torch.Tensor
    targets: torch.Tensor


def cells_of(maps: torch.Tensor, labels: Sequence[np.ndarray], classes: int) -> Cells:
    """Cells of maps (n, C, h, w) with label images (S, S), as many."""
    rows, grid = frozen_map.cells_of(maps), (maps.shape[2], maps.shape[3])
    targets = [shares(one, grid, classes).flatten(1).T for one in labels]
    return Cells(rows, torch.cat(targets).to(rows))


def shares(labels: np.ndarray, grid: tuple[int, int], classes: int) -> torch.Tensor:
    """(classes, h, w): which share of the pixels of a cell of the grid (h, w) each class has; labels (S, S)."""
    values = torch.from_numpy(labels.astype(np.int64))
    values = torch.where(values == IGNORED, classes, values)
    planes = functional.one_hot(values, classes + 1).permute(2, 0, 1)[:classes].float()
    return functional.adaptive_avg_pool2d(planes, grid)


def zeros_for(cells: Cells) -> Convolution:
    """A convolution of zeros that standardises these cells, all of one weight."""
    count, classes = cells.targets.shape
    even = torch.full((count,), 1 / count, dtype=torch.float64, device=cells.rows.device)
    return frozen_map.standardiser(cells.rows, even, classes)


def fit(cells: Cells, decay: float, start: Convolution) -> Convolution:
    """The minimum of the mean cross-entropy over known pixels + decay / 2 · ‖weight‖², by L-BFGS.

    Args: cells, of train; decay, factor of ‖weight‖² / 2, not of the bias; start, where it begins.
    """
    known = cells.targets.sum()
    weight, bias = start.weight.clone(), start.bias.clone()
    optimizer = torch.optim.LBFGS(
        [weight, bias], 1.0, STEPS, None, TOLERANCE, 0.0, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        """The objective, its gradients left where L-BFGS looks for them."""
        value, gradient, by_bias = decay / 2 * weight.square().sum(), decay * weight, torch.zeros_like(bias)
        for part, target in zip(torch.split(cells.rows, CHUNK), torch.split(cells.targets, CHUNK), strict=True):
            standardised, wanted = start.standardised(part), target.double()
            logarithms = functional.log_softmax(standardised @ weight.T + bias, dim=1)
            value = value - (logarithms * wanted).sum() / known
            error = (logarithms.exp() * wanted.sum(1, keepdim=True) - wanted) / known
            gradient, by_bias = gradient + error.T @ standardised, by_bias + error.sum(0)
        weight.grad, bias.grad = gradient, by_bias
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves L-BFGS without types
    return Convolution(weight, bias, start.mean, start.std)


def choose_and_fit(
    maps: torch.Tensor, labels: Sequence[np.ndarray], classes: int, share: float, seed: int
) -> tuple[Convolution, dict[str, object]]:
    """Choose the weight decay by the mIoU of a held-out slice of train, and refit on all of train.

    Args:
        maps: (n, C, h, w) of train.
        labels: as many label images (S, S).
        classes: their number.
        share: of the images that are held out, at least one.
        seed: of the slice.

    Returns: the convolution; and the decay, and the held-out mIoU of each.
    """
    cells = cells_of(maps, labels, classes)
    start = zeros_for(cells)

    def tried(kept: list[int], out: list[int]) -> Tried:
        """Each fit starts from the one before; no number where no pixel that is held out has a class."""
        chosen, at = cells_of(maps[kept], [labels[one] for one in kept], classes), start
        for decay in DECAYS:
            at = fit(chosen, decay, at)
            found = tallies(at, maps[out], lambda one: labels[out[one]], classes)
            yield decay, metrics_of(found)[0]["mIoU"] if found.any() else math.nan

    decay, details = frozen_map.choose_decay(len(maps), share, seed, tried, DECAYS[0], "mIoU", max)
    return fit(cells, decay, start), details


def tallies(fitted: Convolution, maps: torch.Tensor, label_of: Callable[[int], np.ndarray], classes: int) -> np.ndarray:
    """Of each image (n, classes, 3), as of `pixel_accuracy.tally`; IGNORED pixels are left out.

    Args:
        fitted: the convolution.
        maps: (n, C, h, w).
        label_of: the label image (S, S) of each of them; scores are enlarged to its size bilinearly.
        classes: their number.
    """
    found = np.zeros((len(maps), classes, 3), dtype=np.int64)
    for at in range(len(maps)):
        labels = label_of(at)
        scores = fitted.enlarged(maps[at], labels.shape)
        found[at] = pixel_accuracy.tally(scores.argmax(0).cpu().numpy(), labels, classes)
    return found


def metrics_of(found: np.ndarray) -> tuple[dict[str, float], dict[int, float]]:
    """mIoU, mACC and pACC in percent, as detectron2 tells them, and the IoU of each class that the images show.

    Args: found, as of `tallies`.
    """
    total = found.sum(0)
    each = pixel_accuracy.ratios(total)[:, 0]
    shown = {int(one): float(each[one]) for one in np.flatnonzero(total[:, pixel_accuracy.THERE])}
    return {name: float(value[0]) for name, value in pixel_accuracy.means(total[None]).items()}, shown
