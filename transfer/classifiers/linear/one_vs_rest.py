"""One logistic regression a class on the same frozen rows: whether an image shows it, whatever else it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from transfer.classifiers.average_precision import of_classes
from transfer.classifiers.linear.logistic_regression import CHUNK, ITERATIONS, TOLERANCE, WEIGHT_DECAYS
from transfer.classifiers.linear.racing_heads import Standardised
from transfer.features.on_device import DeviceRows

PROTOCOL = "one-vs-rest logistic regression: cached features, no augmentation"


@dataclass(frozen=True)
class Whitened:
    """Standardised rows of an image set, and the axes of their correlation, in which fits take few steps.

    rows (n, D) on the device, standardise: of training rows. axes (D, D) and variances (D,) of the correlation.
    """

    rows: torch.Tensor
    standardise: Standardised
    axes: torch.Tensor
    variances: torch.Tensor


def whitened(rows: DeviceRows, device: torch.device, scaled: bool = True) -> Whitened:
    """Training rows as fits need them. Args: scaled, whether they are divided by their deviation too."""
    standardise = Standardised(rows)
    if not scaled:
        standardise.scale = torch.ones_like(standardise.scale)
    standardised = torch.cat([standardise(part) for part in rows.blocks(CHUNK)]).to(device)
    moments = torch.zeros(rows.width, rows.width, dtype=torch.float64, device=device)
    for part in torch.split(standardised, CHUNK):
        moments += part.double().T @ part.double()
    variances, axes = torch.linalg.eigh(moments / len(standardised))
    return Whitened(standardised, standardise, axes, variances.clamp(min=0))


@dataclass(frozen=True)
class Fit:
    """weight (classes, D), bias (classes,), float64, of standardised rows. residual: of the gradient, its largest."""

    weight: torch.Tensor
    bias: torch.Tensor
    residual: float

    def scores(self, rows: torch.Tensor) -> np.ndarray:
        """(n, classes) of standardised rows (n, D)."""
        parts = [(part.double() @ self.weight.T + self.bias).cpu() for part in torch.split(rows, CHUNK)]
        return torch.cat(parts).numpy()


def fit(rows: Whitened, marks: torch.Tensor, kept: torch.Tensor, decay: float, start: Fit | None = None) -> Fit:
    """The minimum of the sum over classes of mean binary cross-entropies and decay / 2 · ‖weight‖², by L-BFGS.

    Each class has its own mean, over the images where it is there or absent; difficult ones are left out. The bias is
    not decayed. L-BFGS works on V with weight = V P, P^T P the inverse of the Hessian at zero weights.

    Args:
        rows: of train.
        marks: (n, classes) int8, as of `Labelled.marks`.
        kept: (n,) bool, the images that are fitted.
        decay: factor of ‖weight‖² / 2.
        start: a fit to begin from, zeros without.
    """
    values, targets = rows.rows[kept], marks[kept]
    weights = (targets >= 0).double() / (targets >= 0).sum(0).clamp(min=1)
    positive = (targets == 1).double()
    root = (rows.variances / 4 + decay).sqrt()
    zeros = torch.zeros(marks.shape[1], values.shape[1], dtype=torch.float64, device=values.device)
    weight, bias = (zeros, zeros[:, 0].clone()) if start is None else (start.weight, start.bias.clone())
    variable = weight @ rows.axes * root
    optimizer = torch.optim.LBFGS(
        [variable, bias], 1.0, ITERATIONS, None, TOLERANCE, 0.0, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        """The objective, its gradients left where L-BFGS looks for them."""
        weight = variable / root @ rows.axes.T
        value, gradient = decay / 2 * weight.square().sum(), decay * weight
        bias.grad = torch.zeros_like(bias)
        parts = (torch.split(every, CHUNK) for every in (values, positive, weights))
        for part, wanted, share in zip(*parts, strict=True):
            part = part.double()
            scores = part @ weight.T + bias
            value = value + functional.binary_cross_entropy_with_logits(scores, wanted, share, reduction="sum")
            error = (scores.sigmoid() - wanted) * share
            gradient = gradient + error.T @ part
            bias.grad += error.sum(0)
        variable.grad = gradient @ rows.axes / root
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves L-BFGS without types
    closure()
    assert variable.grad is not None and bias.grad is not None
    residual = max((variable.grad * root @ rows.axes.T).abs().max().item(), bias.grad.abs().max().item())
    return Fit(variable / root @ rows.axes.T, bias, residual)


def choose_and_fit(
    rows: Whitened, marks: np.ndarray, share: float, seed: int, decays: Sequence[float] = WEIGHT_DECAYS
) -> tuple[Fit, dict[str, object]]:
    """Choose one decay for all classes by the mean average precision of a held-out slice, and refit on all of train.

    Args:
        rows: of train.
        marks: (n, classes) of them.
        share: of train that is held out; a class without an image in the slice does not choose.
        seed: of the slice.
        decays: from strong to weak, each fit starting from the one before.

    Returns: the fit; and the decay, the held-out mean of each, and the largest entry of the gradient.
    """
    targets = torch.from_numpy(marks).to(rows.rows.device)
    generator = torch.Generator().manual_seed(seed)
    slice_ = torch.zeros(len(marks), dtype=torch.bool)
    slice_[torch.randperm(len(marks), generator=generator)[: max(1, round(share * len(marks)))]] = True
    chosen_on = slice_.to(rows.rows.device)
    judged = (marks[slice_.numpy()] == 1).any(0)
    rivals: dict[float, float] = {}
    at: Fit | None = None
    for decay in decays if judged.any() else ():
        at = fit(rows, targets, ~chosen_on, decay, at)
        scores = at.scores(rows.rows[chosen_on])[:, judged]
        rivals[decay] = float(of_classes(scores, marks[slice_.numpy()][:, judged]).mean())
    decay = max(rivals, key=rivals.__getitem__, default=decays[0])
    fitted = fit(rows, targets, torch.ones_like(chosen_on), decay)
    held_out = {f"{rival:g}": value for rival, value in rivals.items()}
    details: dict[str, object] = {"weight_decay": decay, "held_out_mAP": held_out}
    return fitted, details | {"largest_gradient_entry": fitted.residual}
