"""A 1x1 convolution on the frozen map of a stage, fitted exactly, and its intersection over union.

Every cell of a map is a row whose target is the share of each class among the pixels that it covers. Fitting these
rows is fitting the convolution's scores, enlarged to the pixels without smoothing, by cross-entropy over all pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from transfer.classifiers import pixel_accuracy
from transfer.classifiers.linear.logistic_regression import TOLERANCE

PROTOCOL = "1x1 convolution on a frozen map, exact cross-entropy over pixels, no augmentation"
DECAYS = (1.0, 1e-1, 1e-2, 1e-3)  # from strong to weak: each fit starts from the previous one
STEPS = 200  # of L-BFGS
CHUNK = 2**14  # cells at once
IGNORED = 255


@dataclass(frozen=True)
class Cells:
    """rows (n · h · w, C) and targets (n · h · w, classes), shares of the pixels of a cell, IGNORED ones in none."""

    rows: torch.Tensor
    targets: torch.Tensor


def cells_of(maps: torch.Tensor, labels: Sequence[np.ndarray], classes: int) -> Cells:
    """Cells of maps (n, C, h, w) with label images (S, S), as many."""
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
    grid = maps.shape[2], maps.shape[3]
    targets = [shares(one, grid, classes).flatten(1).T for one in labels]
    return Cells(rows, torch.cat(targets).to(rows))


def shares(labels: np.ndarray, grid: tuple[int, int], classes: int) -> torch.Tensor:
    """(classes, h, w): which share of the pixels of a cell of the grid (h, w) each class has; labels (S, S)."""
    values = torch.from_numpy(labels.astype(np.int64))
    values = torch.where(values == IGNORED, classes, values)
    planes = functional.one_hot(values, classes + 1).permute(2, 0, 1)[:classes].float()
    return functional.adaptive_avg_pool2d(planes, grid)


@dataclass(frozen=True)
class Convolution:
    """weight (classes, C) and bias (classes,), float64, of cells standardised by mean and std (C,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def scores(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, C, h, w) to (n, classes, h, w)."""
        cells = (maps.permute(0, 2, 3, 1).double() - self.mean) / self.std
        return (cells @ self.weight.T + self.bias).permute(0, 3, 1, 2)


def standardiser(rows: torch.Tensor, classes: int) -> Convolution:
    """A convolution of zeros that knows the mean and the deviation of training cells (n, C)."""
    mean = rows.mean(0, dtype=torch.float64)
    square = sum(((part.double() - mean).square().sum(0) for part in torch.split(rows, CHUNK)), torch.zeros_like(mean))
    std = (square / len(rows)).sqrt()
    std = torch.where(std > 1e-6 * std.max(), std, 1.0)
    return Convolution(mean.new_zeros(classes, len(mean)), mean.new_zeros(classes), mean, std)


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
            standardised, wanted = (part.double() - start.mean) / start.std, target.double()
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
    order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(seed)).tolist()
    out = order[: max(1, round(share * len(maps)))]
    kept = sorted(set(order) - set(out))
    rivals: dict[float, float] = {}
    cells = cells_of(maps, labels, classes)
    start = standardiser(cells.rows, classes)
    if kept:
        chosen, at = cells_of(maps[kept], [labels[one] for one in kept], classes), start
        for decay in DECAYS:
            at = fit(chosen, decay, at)
            found = tallies(at, maps[out], lambda one: labels[out[one]], classes)
            if found.any():
                rivals[decay] = metrics_of(found)[0]["mIoU"]
    decay = max(rivals, key=rivals.__getitem__, default=DECAYS[0])
    details: dict[str, object] = {"weight_decay": decay}
    return fit(cells, decay, start), details | {"held_out_mIoU": {f"{one:g}": value for one, value in rivals.items()}}


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
        scores = functional.interpolate(fitted.scores(maps[at : at + 1]), size=labels.shape, mode="bilinear")
        found[at] = pixel_accuracy.tally(scores[0].argmax(0).cpu().numpy(), labels, classes)
    return found


def metrics_of(found: np.ndarray) -> tuple[dict[str, float], dict[int, float]]:
    """mIoU, mACC and pACC in percent, as detectron2 tells them, and the IoU of each class that the images show.

    Args: found, as of `tallies`.
    """
    total = found.sum(0)
    each = pixel_accuracy.ratios(total)[:, 0]
    shown = {int(one): float(each[one]) for one in np.flatnonzero(total[:, pixel_accuracy.THERE])}
    return {name: float(value[0]) for name, value in pixel_accuracy.means(total[None]).items()}, shown
