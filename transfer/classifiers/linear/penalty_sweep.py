"""The linear protocol of transfer: logistic regression whose penalty is chosen among many on a validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pretrain.runtime.errors import UserError
from transfer.classifiers import average_precision
from transfer.classifiers.accuracy import mean_per_class, top1_top5
from transfer.classifiers.linear import one_vs_rest
from transfer.classifiers.linear.logistic_regression import Design, held_out
from transfer.datasets.labelled import Labelled
from transfer.datasets.multilabel import marks_of
from transfer.features.on_device import DeviceRows, to_device, whole
from transfer.features.rows import Features
from transfer.per_image import PerImage, of_marks, of_scores

RIVAL = 1e-4  # largest entry of a rival's gradient, scikit-learn's default; the last fit is ten times as exact


@dataclass(frozen=True)
class Sweep:
    """How a penalty is chosen.

    penalties: λ of Σ loss + λ/2 ‖weight‖², from strong to weak, by equal factors: 1/C of scikit-learn. scaled: divide
    the rows by their deviation first. share: of train that is held out where a set names none. seed: of that slice.
    """

    penalties: tuple[float, ...]
    scaled: bool
    share: float
    seed: int


def spaced(strongest: float, weakest: float, count: int) -> tuple[float, ...]:
    """Penalties from strong to weak, by equal factors."""
    return tuple(np.geomspace(strongest, weakest, count).tolist())


@dataclass(frozen=True)
class Swept:
    """scores (n, classes) of the n images of val that could be read. truth: (n,) labels, or (n, classes) marks.

    metrics: in percent, the published one first. details: what was chosen.
    """

    scores: np.ndarray
    truth: np.ndarray
    metrics: dict[str, float]
    details: dict[str, Any]

    def per_image(self, names: Sequence[str]) -> PerImage:
        """What came of the n images of these names."""
        if self.truth.ndim == 2:
            return of_marks(names, self.scores, self.truth)
        return of_scores(names, torch.from_numpy(self.scores), torch.from_numpy(self.truth))


def sweep_and_score(train: Features, val: Features, data: Labelled, sweep: Sweep, device: torch.device) -> Swept:
    """Choose the penalty on the validation split, fit on all of train with it, and score val once.

    Args:
        train, val: rows of the images of `data` that could be read.
        data: with the split on which it is chosen, and the metric by which.
        sweep: the penalties.
        device: where to fit.

    Raises:
        UserError: no image of the validation split could be read.
    """
    chosen_on = validation(train.names, train.labels, data, sweep.share, sweep.seed)
    fits = (_of_labels if data.marks is None else _of_marks)(train, val, data, sweep, device)
    judged = fits.truth[chosen_on]
    rivals = {penalty: measured(data.metric, scores, judged)[data.metric] for penalty, scores in fits.path(chosen_on)}
    penalty = max(rivals, key=rivals.__getitem__, default=1.0)
    scores, truth, residual = fits.last(penalty)
    details = {
        "penalty": penalty,
        "chosen_on": int(chosen_on.sum()),
        "held_out": {f"{rival:g}": value for rival, value in rivals.items()},
        "largest_gradient_entry": residual,
    }
    return Swept(scores, truth, measured(data.metric, scores, truth), details)


def validation(names: Sequence[str], labels: torch.Tensor, data: Labelled, share: float, seed: int) -> np.ndarray:
    """Mask (n,) of the images of train that settings are chosen on.

    Args:
        names: of those that could be read.
        labels: (n,) of them.
        data: with the published split, or the published share.
        share: to hold out where neither is published.
        seed: of what is held out.

    Raises:
        UserError: none of the images of the published split could be read.
    """
    if data.chosen_on is not None:
        chosen = {data.train.key(at) for at in data.chosen_on}
        mask = np.array([name in chosen for name in names], bool)
        if not mask.any() or mask.all():
            kind = "validation" if not mask.any() else "training"
            raise UserError(f"none of the {kind} images of {data.name} can be decoded: copy {data.train.root} again.")
        return mask
    share = data.held_out or share
    if data.marks is None:
        return held_out(labels, share, seed).numpy()
    mask = np.zeros(len(names), bool)
    mask[np.random.default_rng(seed).permutation(len(mask))[: max(1, round(share * len(mask)))]] = True
    return mask


def where(data: Labelled, share: float) -> str:
    """What the penalty is chosen on, in words."""
    if data.chosen_on is not None:
        return "the published validation split"
    return f"{100 * (data.held_out or share):.3g} % of train"


def measured(metric: str, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracies of scores (n, classes) in percent, `metric` first.

    Args: truth, (n,) labels; or (n, classes) marks, of which a class counts that an image shows.
    """
    if truth.ndim == 2:
        shown = (truth == 1).any(0)
        found = average_precision.means(scores[:, shown], truth[:, shown])
    else:
        values, labels = torch.from_numpy(scores), torch.from_numpy(truth)
        found = top1_top5(values, labels) | {"mean per class": mean_per_class(values, labels)}
    return {metric: found[metric]} | found


@dataclass(frozen=True)
class Fits:
    """Fits of one kind.

    truth: of the rows of train. path: (mask of those chosen on) to each penalty with their scores, when fitted on the
    others. last: (penalty) to the scores of val when fitted on all of train, their truth, and the largest entry of the
    gradient.
    """

    truth: np.ndarray
    path: Callable[[np.ndarray], Iterator[tuple[float, np.ndarray]]]
    last: Callable[[float], tuple[np.ndarray, np.ndarray, float]]


def _of_labels(train: Features, val: Features, data: Labelled, sweep: Sweep, device: torch.device) -> Fits:
    """One class an image: the softmax over classes."""
    rows, labels = whole(train.rows, device), to_device(train.labels, device)
    classes = len(data.train.classes)

    def path(chosen_on: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        """By `Design.path`."""
        if not chosen_on.any():
            return
        apart = torch.from_numpy(chosen_on).to(device)
        judged, count = rows[apart], int((~apart).sum())
        design = Design(rows[~apart], labels[~apart], classes, sweep.scaled, torch.float32)
        decays = [penalty / count for penalty in sweep.penalties]
        for penalty, (_, probe) in zip(sweep.penalties, design.path(decays, RIVAL), strict=True):
            yield penalty, probe.scores(judged).numpy()

    def last(penalty: float) -> tuple[np.ndarray, np.ndarray, float]:
        """By `Design.fit`, from nothing."""
        probe = Design(rows, labels, classes, sweep.scaled).fit(penalty / len(rows))
        return probe.scores(val.rows).numpy(), val.labels.numpy(), probe.residual

    return Fits(train.labels.numpy(), path, last)


def _of_marks(train: Features, val: Features, data: Labelled, sweep: Sweep, device: torch.device) -> Fits:
    """Several classes an image: each class against the rest."""
    assert data.marks is not None
    truth, judged = marks_of(train, data.train, data.marks[0]), marks_of(val, data.val, data.marks[1])
    marks = torch.from_numpy(truth).to(device)
    rows = one_vs_rest.whitened(DeviceRows(train.rows, device), device, sweep.scaled)

    def path(chosen_on: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        """Each fit starts from the one before."""
        apart = torch.from_numpy(chosen_on).to(device)
        at: one_vs_rest.Fit | None = None
        for penalty in sweep.penalties:
            at = one_vs_rest.fit(rows, marks, ~apart, penalty / int((~apart).sum()), at)
            yield penalty, at.scores(rows.rows[apart])

    def last(penalty: float) -> tuple[np.ndarray, np.ndarray, float]:
        """From nothing."""
        every = torch.ones(len(marks), dtype=torch.bool, device=device)
        fitted = one_vs_rest.fit(rows, marks, every, penalty / len(marks))
        return fitted.scores(rows.standardise(to_device(val.rows[:], device))), judged, fitted.residual

    return Fits(truth, path, last)
