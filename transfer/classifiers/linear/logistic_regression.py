"""Linear probe on cached features: multinomial logistic regression, fitted exactly; no augmentation, no schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from pretrain.runtime import distributed
from transfer.classifiers.accuracy import top, top1_top5
from transfer.classifiers.linear.linear_head import Head, unstandardised
from transfer.features.on_device import to_device, whole
from transfer.features.rows import Features, RowFile, blocks

PROTOCOL = "exact logistic regression: cached features, no augmentation"
WEIGHT_DECAYS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # from strong to weak: each fit starts from those before
KEPT = 2**32  # bytes of standardised rows that are kept for further passes; larger sets are standardised in each
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

    def head(self) -> Head:
        """The same classifier of rows that are not standardised."""
        return unstandardised(self.weight, self.bias, self.mean, 1 / self.std)

    def standardised(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows - mean) / std in float64."""
        return (rows.to(self.weight) - self.mean) / self.std


def objective(
    probe: Probe, rows: torch.Tensor, labels: torch.Tensor, weight_decay: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean cross-entropy + weight_decay / 2 · ‖weight‖², and its gradients with respect to weight and bias.

    The bias is not decayed.

    Args:
        probe: where value and gradients are taken.
        rows: (n, D), as they come; the probe standardises them.
        labels: (n,).
        weight_decay: factor of ‖weight‖² / 2.

    Returns: the value, and the gradients (classes, D) and (classes,).
    """
    return _objective(probe, map(probe.standardised, blocks(rows, CHUNK)), labels, weight_decay)


def _objective(
    probe: Probe, parts: Iterable[torch.Tensor], labels: torch.Tensor, weight_decay: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`objective` of rows that are standardised already, CHUNK at a time, in float64 but for products with the rows.

    The gradient is written out (softmax minus one-hot, times the rows), so that a chunk of rows at a time is enough.
    """
    value = weight_decay / 2 * probe.weight.square().sum()
    weight_gradient, bias_gradient = weight_decay * probe.weight, torch.zeros_like(probe.bias)
    for standardised, target in zip(parts, blocks(labels, CHUNK), strict=True):
        logits = (standardised @ probe.weight.to(standardised).T).to(probe.weight)
        log_probability = functional.log_softmax(logits + probe.bias, dim=1)
        value = value - log_probability.gather(1, target[:, None]).sum() / len(labels)
        error = log_probability.exp_()
        error[torch.arange(len(target), device=error.device), target] -= 1
        error /= len(labels)
        weight_gradient = weight_gradient + (error.T.to(standardised) @ standardised).to(probe.weight)
        bias_gradient = bias_gradient + error.sum(0)
    return value, weight_gradient, bias_gradient


class Design:
    """Labelled rows that several fits share: standardised once, with the axes of their curvature.

    L-BFGS works on V with weight = V P, where P^T P is the inverse of the Hessian at zero weights (up to the coupling
    of classes): the same minimum in far fewer iterations, as features are strongly correlated. P is made of the
    eigenvectors of the rows' correlation, which no weight decay changes.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        labels: torch.Tensor,
        classes: int,
        scaled: bool = True,
        precision: torch.dtype = torch.float64,
    ) -> None:
        """Standardise, and find the axes.

        Args:
            rows: (n, D) of any float type; a constant column stays 0.
            labels: (n,) class indices.
            classes: their number.
            scaled: divide by the rows' deviation too; else the mean alone is taken off, which the bias makes good.
            precision: of the standardised rows. float32 halves the time of a fit, whose gradient is then known to
                about 1e-6: enough to tell rivals apart, not for a fit to report.
        """
        self.labels, self.rows = labels, rows
        self.zero = _standardiser(rows, classes, scaled)
        self.precision = precision
        self.kept = self._standardised(rows) if rows.numel() * precision.itemsize <= KEPT else None
        moments = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
        for part in self._parts():
            moments += (part.T @ part).double()
        variances, self.axes = torch.linalg.eigh(moments / len(rows))
        self.curvature = variances.clamp(min=0) * (classes - 1) / classes**2

    def _parts(self) -> Iterable[torch.Tensor]:
        """Standardised rows, CHUNK at a time."""
        if self.kept is not None:
            return torch.split(self.kept, CHUNK)
        return map(self._standardised, blocks(self.rows, CHUNK))

    def _standardised(self, rows: torch.Tensor) -> torch.Tensor:
        return self.zero.standardised(rows).to(self.precision)

    def fit(
        self, weight_decay: float, start: Probe | None = None, tolerance: float = TOLERANCE, told: bool = True
    ) -> Probe:
        """The minimiser of `objective` (strictly convex but for a shift of all biases), by L-BFGS in float64.

        Args:
            weight_decay: of the weights.
            start: a fit of this design to begin from, zeros without.
            tolerance: largest entry of the gradient at which it ends.
            told: whether the residual is wanted, for which all rows are read once more.
        """
        probe = self.zero if start is None else start
        weight, bias = probe.weight.clone(), probe.bias.clone()
        root = (self.curvature + weight_decay).sqrt()
        variable = weight @ self.axes * root
        optimizer = torch.optim.LBFGS(
            [variable, bias],
            max_iter=ITERATIONS,
            history_size=20,
            tolerance_grad=tolerance,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> torch.Tensor:
            """The objective at V P, its gradients left where L-BFGS looks for them."""
            at = replace(probe, weight=variable / root @ self.axes.T, bias=bias)
            value, weight_gradient, bias.grad = _objective(at, self._parts(), self.labels, weight_decay)
            variable.grad = weight_gradient @ self.axes / root
            return value

        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves L-BFGS without types
        fitted = replace(probe, weight=variable / root @ self.axes.T, bias=bias)
        if not told:
            return fitted
        _, *gradients = _objective(fitted, self._parts(), self.labels, weight_decay)
        return replace(fitted, residual=max(gradient.abs().max().item() for gradient in gradients))

    def path(self, weight_decays: Sequence[float], tolerance: float = TOLERANCE) -> Iterator[tuple[float, Probe]]:
        """Each weight decay with its fit, without residual, which starts where the two before it point to.

        Args: weight_decays, from strong to weak, by equal factors. tolerance, as of `fit`.
        """
        last: Probe | None = None
        start: Probe | None = None
        for weight_decay in weight_decays:
            probe = self.fit(weight_decay, start, tolerance, told=False)
            yield weight_decay, probe
            weight, bias = (probe.weight, probe.bias) if last is None else (last.weight, last.bias)
            start = replace(probe, weight=2 * probe.weight - weight, bias=2 * probe.bias - bias)
            last = probe


def fit(
    rows: torch.Tensor, labels: torch.Tensor, classes: int, weight_decay: float, start: Probe | None = None
) -> Probe:
    """One fit, `Design.fit`, of rows standardised with their own mean and deviation.

    Args:
        rows: (n, D) of any float type; a constant column stays 0.
        labels: (n,) class indices.
        classes: their number.
        weight_decay: of the weights.
        start: a fit on the same rows to begin from, zeros without.
    """
    return Design(rows, labels, classes).fit(weight_decay, start)


def _standardiser(rows: torch.Tensor, classes: int, scaled: bool) -> Probe:
    """A probe that knows the rows' mean and, where `scaled`, their standard deviation, with zero weights."""
    mean = rows.mean(0, dtype=torch.float64)
    square = torch.zeros_like(mean)
    for part in blocks(rows, CHUNK):
        square += (part.double() - mean).square().sum(0)
    std = (square / len(rows)).sqrt()
    std = torch.where(std > 1e-6 * std.max(), std, 1.0) if scaled else torch.ones_like(mean)
    return Probe(mean.new_zeros(classes, len(mean)), mean.new_zeros(classes), mean, std, float("nan"))


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
    held_out_top1 = {}
    design = Design(rows[~chosen_on], labels[~chosen_on], classes)
    for weight_decay, probe in design.path(WEIGHT_DECAYS):
        held_out_top1[weight_decay] = top(probe.scores(rows[chosen_on]), labels[chosen_on].cpu(), 1)
    return held_out_top1


def fit_and_score(
    train: Features, val: Features, classes: int, device: torch.device, share: float, seed: int
) -> tuple[dict[str, float], dict[str, object]]:
    """The accuracies of `fit_and_scores` in percent, and its details.

    Args:
        train, val: rows with labels.
        classes: their number.
        device: where to fit.
        share: of train that is held out to choose on.
        seed: of the slice.
    """
    scores, details = fit_and_scores(train, val, classes, device, share, seed)
    return top1_top5(scores, val.labels), details


def fit_and_scores(
    train: Features, val: Features, classes: int, device: torch.device, share: float, seed: int
) -> tuple[torch.Tensor, dict[str, object]]:
    """Scores (m, classes) of the rows of val by what `fit_chosen` fits to train, and its details.

    Args:
        train, val: rows with labels.
        classes: their number.
        device: where to fit.
        share: of train that is held out to choose on.
        seed: of the slice.
    """
    probe, details = fit_chosen(train, classes, device, share, seed)
    return probe.scores(val.rows), details


def fit_chosen(
    train: Features, classes: int, device: torch.device, share: float, seed: int
) -> tuple[Probe, dict[str, object]]:
    """Choose the weight decay on a slice of train, and refit on all of train.

    Args:
        train: rows with labels.
        classes: their number.
        device: where to fit.
        share: of train that is held out to choose on.
        seed: of the slice.

    Returns: the fit; and details: the weight decay, the held-out top-1 of each, and the largest entry of the gradient
        at the end (0 at the exact optimum).
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
    return probe, details
