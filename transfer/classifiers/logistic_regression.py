"""Linear probe on cached features: multinomial logistic regression, fitted exactly; no augmentation, no schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from pretrain.runtime import distributed
from transfer.classifiers.accuracy import top, top1_top5
from transfer.features.on_device import to_device, whole
from transfer.features.rows import Features, RowFile, blocks

PROTOCOL = "exact logistic regression: cached features, no augmentation"
WEIGHT_DECAYS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # from strong to weak: each fit starts from the previous one
CHUNK = 2**14  # rows at once: ImageNet's logits would not fit into memory together
ITERATIONS = 500
TOLERANCE = 1e-5  # largest entry of the gradient at which a fit counts as exact


@dataclass(frozen=True)
class Probe:
    """A fitted classifier on standardised rows: scores = ((rows - mean) / std) weight^T + bias, in float64.

    weight (classes, D), bias (classes,), mean and std (D,). residual: largest absolute entry of the objective's
    gradient where the fit stopped.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    residual: float

    def scores(self, rows: torch.Tensor | RowFile) -> torch.Tensor:
        """(n, D) rows to (n, classes) class scores, on the CPU."""
        parts = [self.standardised(part) @ self.weight.T + self.bias for part in blocks(rows, CHUNK)]
        return torch.cat([part.cpu() for part in parts])

    def standardised(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows - mean) / std in float64."""
        return (rows.to(self.weight) - self.mean) / self.std


def objective(
    probe: Probe, rows: torch.Tensor, labels: torch.Tensor, weight_decay: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean cross-entropy + weight_decay / 2 · ‖weight‖², and its gradients with respect to weight and bias.

    The bias is not decayed. The gradient is written out (softmax minus one-hot, times the rows), so that a chunk of
    rows at a time is enough.

    Args:
        probe: where value and gradients are taken.
        rows: (n, D), as they come; the probe standardises them.
        labels: (n,).
        weight_decay: factor of ‖weight‖² / 2.

    Returns: the value, and the gradients (classes, D) and (classes,).
    """
    value = weight_decay / 2 * probe.weight.square().sum()
    weight_gradient, bias_gradient = weight_decay * probe.weight, torch.zeros_like(probe.bias)
    for part, target in zip(blocks(rows, CHUNK), blocks(labels, CHUNK), strict=True):
        standardised = probe.standardised(part)
        log_probability = functional.log_softmax(standardised @ probe.weight.T + probe.bias, dim=1)
        value = value - log_probability.gather(1, target[:, None]).sum() / len(rows)
        error = log_probability.exp()
        error[torch.arange(len(target), device=error.device), target] -= 1
        error /= len(rows)
        weight_gradient = weight_gradient + error.T @ standardised
        bias_gradient = bias_gradient + error.sum(0)
    return value, weight_gradient, bias_gradient


def fit(
    rows: torch.Tensor, labels: torch.Tensor, classes: int, weight_decay: float, start: Probe | None = None
) -> Probe:
    """The minimiser of `objective` (strictly convex but for a shift of all biases), by L-BFGS in float64.

    L-BFGS works on V with weight = V P, where P is the inverse square root of the Hessian at zero weights (up to the
    coupling of classes): the same minimum in far fewer iterations, as features are strongly correlated.

    Args:
        rows: (n, D) of any float type, standardised with their own mean and deviation; a constant column stays 0.
        labels: (n,) class indices.
        classes: their number.
        weight_decay: of the weights.
        start: a fit on the same rows to begin from, zeros without.
    """
    probe = _standardiser(rows, classes) if start is None else start
    weight, bias = probe.weight.clone(), probe.bias.clone()
    curvature, axes = torch.linalg.eigh(_correlation(probe, rows))
    curvature = curvature.clamp(min=0) * (classes - 1) / classes**2 + weight_decay
    inverse_root, root = (axes * curvature**power @ axes.T for power in (-0.5, 0.5))
    variable = weight @ root
    optimizer = torch.optim.LBFGS(
        [variable, bias],
        max_iter=ITERATIONS,
        history_size=20,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        """The objective at V P, its gradients left where L-BFGS looks for them."""
        at = replace(probe, weight=variable @ inverse_root, bias=bias)
        value, weight_gradient, bias.grad = objective(at, rows, labels, weight_decay)
        variable.grad = weight_gradient @ inverse_root
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves L-BFGS without types
    fitted = replace(probe, weight=variable @ inverse_root, bias=bias)
    _, *gradients = objective(fitted, rows, labels, weight_decay)
    return replace(fitted, residual=max(gradient.abs().max().item() for gradient in gradients))


def _standardiser(rows: torch.Tensor, classes: int) -> Probe:
    """A probe that knows the rows' mean and standard deviation, with zero weights."""
    mean = rows.mean(0, dtype=torch.float64)
    square = torch.zeros_like(mean)
    for part in blocks(rows, CHUNK):
        square += (part.double() - mean).square().sum(0)
    std = (square / len(rows)).sqrt()
    std = torch.where(std > 1e-6 * std.max(), std, 1.0)
    return Probe(mean.new_zeros(classes, len(mean)), mean.new_zeros(classes), mean, std, float("nan"))


def _correlation(probe: Probe, rows: torch.Tensor) -> torch.Tensor:
    """(D, D) correlation matrix of the rows in float64."""
    moments = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in blocks(rows, CHUNK):
        standardised = probe.standardised(part)
        moments += standardised.T @ standardised
    return moments / len(rows)


def held_out(labels: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """Mask (n,) of the training images that are held out to choose the weight decay.

    These are `share` of each class, rounded, and at least one image. A class of one image keeps it for fitting. Where
    every class has one image, nothing is held out, and a note is printed. The draw depends on `seed` alone.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        count = min(len(members) - 1, max(1, round(share * len(members))))
        mask[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    if not mask.any() and distributed.rank() == 0:
        print("note: every class has one image, so none can be held out: the first of several settings is taken")
    return mask


def choose_weight_decay(
    rows: torch.Tensor, labels: torch.Tensor, classes: int, chosen_on: torch.Tensor
) -> dict[float, float]:
    """Top-1 in percent on a held-out slice for each of WEIGHT_DECAYS, fitted on the rest.

    Args:
        rows: (n, D), of train.
        labels: (n,).
        classes: number of classes.
        chosen_on: bool (n,), the held-out slice.
    """
    held_out_top1, probe = {}, None
    for weight_decay in WEIGHT_DECAYS:
        probe = fit(rows[~chosen_on], labels[~chosen_on], classes, weight_decay, probe)
        held_out_top1[weight_decay] = top(probe.scores(rows[chosen_on]), labels[chosen_on].cpu(), 1)
    return held_out_top1


def fit_and_score(
    train: Features, val: Features, classes: int, device: torch.device, share: float, seed: int
) -> tuple[dict[str, float], dict[str, object]]:
    """Choose the weight decay on a slice of train, never on val, refit on all of train, and score val.

    Args:
        train, val: rows with labels.
        classes: their number.
        device: where to fit.
        share: of train that is held out to choose on.
        seed: of the slice.

    Returns: metrics in percent; and details: the weight decay, the held-out top-1 of each, and the largest entry of the
        gradient at the end (0 at the exact optimum).
    """
    rows, labels = whole(train.rows, device), to_device(train.labels, device)
    chosen_on = held_out(train.labels, share, seed).to(device)
    rivals = choose_weight_decay(rows, labels, classes, chosen_on) if chosen_on.any() else {}
    weight_decay = max(rivals, key=rivals.__getitem__, default=WEIGHT_DECAYS[0])  # one image a class: no choice
    probe = fit(rows, labels, classes, weight_decay)
    details = {
        "weight_decay": weight_decay,
        "held_out_top1": {f"{rival:g}": accuracy for rival, accuracy in rivals.items()},
        "largest_gradient_entry": probe.residual,
    }
    return top1_top5(probe.scores(val.rows), val.labels), details
