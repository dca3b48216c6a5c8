"""The fine-tuning protocol of transfer: learning rate and weight decay chosen on validation, then all of train."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import say
from transfer.classifiers.finetune import Diverged, add_head, fit
from transfer.classifiers.finetune_options import FineTune
from transfer.classifiers.linear.penalty_sweep import Swept, measured, validation
from transfer.datasets.labelled import Labelled
from transfer.datasets.subsets import readable
from transfer.features.extract import extract_with, placed
from transfer.features.pictures import name_unreadable
from transfer.options import Common


@dataclass(frozen=True)
class Grid:
    """What is tried, by what training.

    rates: learning rates of trunk and head alike. decays: of each rate times the weight decay. steps: of a training.
    share: of train that is held out where a set names none. base: the options that all trainings share.
    """

    rates: Sequence[float]
    decays: Sequence[float]
    steps: int
    share: float
    base: FineTune

    def options(self, rate: float, decay: float, images: int, batch: int) -> FineTune:
        """Of one training: its rate, and the weight decay that SGD multiplies by the rate.

        Args:
            rate: of learning.
            decay: the weight decay times the rate.
            images: that it learns from.
            batch: of a step.
        """
        chosen = replace(self.base, lr_trunk=rate, lr_head=rate, weight_decay=decay / rate)
        return replace(chosen, reference_batch=min(batch, images))  # rates are those of the batch in use


@dataclass(frozen=True)
class Tuned:
    """swept: scores, metrics and details of the last training. names: of the images of val that could be read."""

    swept: Swept
    names: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class Trainer:
    """Trains copies of a trunk, each with a new head."""

    trunk: Callable[[], nn.Module]
    width: int
    data: Labelled
    common: Common
    device: torch.device

    def train(self, images: ImageSource, options: FineTune, steps: int) -> nn.Sequential:
        """A network that has learnt from `images` for so many steps.

        Raises:
            Diverged: a loss is not finite.
        """
        head = add_head(self.trunk(), self.width, len(self.data.train.classes), self.common.seed)
        slow_norms(head, per_epoch(len(images), self.common.batch_size))
        network = placed(head, self.device)
        marks = self.data.marks[0] if self.data.marks else None
        fit(network, images, options, self.common, self.device, marks, steps)
        return network

    def scores(
        self, network: nn.Module, source: ImageSource, of_train: bool
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Scores (n, classes), labels (n,) or marks (n, classes), and places of the images that could be read.

        Each rank scores its share. Args: of_train, whether the marks are those of train.
        """
        mine = source.select(distributed.share(len(source)))
        found = extract_with(self.common, network, mine, self.device, "scores", precision="fp32")
        by_name: dict[str, list[float]] = {}
        for part in distributed.gathered(dict(zip(found.names, found.rows[:].tolist(), strict=True))):
            by_name |= part
        read = [at for at in range(len(source)) if source.key(at) in by_name]
        labels = np.array([source.label(at) for at in read])
        truth = labels if self.data.marks is None else self.data.marks[0 if of_train else 1][labels]
        return np.array([by_name[source.key(at)] for at in read]), truth, read


def tune_and_score(trainer: Trainer, grid: Grid) -> Tuned:
    """Choose rate and decay on the validation split, train on all of train with them, and score val once.

    Raises:
        UserError: too few readable images, or every training diverged.
    """
    data, common = trainer.data, trainer.common
    train, unreadable = readable(data.train, common.workers, common.timeout_minutes)
    if distributed.rank() == 0:
        name_unreadable(unreadable)
    if len(train) < 4:
        raise UserError(f"fine-tuning needs at least 4 readable images: see {data.train.root}.")
    names = [train.key(at) for at in range(len(train))]
    mask = validation(names, torch.tensor(list(train.labels or ())), data, grid.share, common.seed)
    tried = list(itertools.product(grid.rates, grid.decays))
    rivals = _rivals(trainer, grid, train, mask, tried) if len(tried) > 1 else {}
    best = max(rivals, key=rivals.__getitem__, default=tried[0])
    if rivals and not math.isfinite(rivals[best]):
        raise UserError("every learning rate diverged: lower learning_rates, or use precision=fp32.")
    network = trainer.train(train, grid.options(*best, len(train), common.batch_size), grid.steps)
    scores, truth, read = trainer.scores(network, data.val, of_train=False)
    details: dict[str, Any] = {
        "learning_rate": best[0],
        "decay": best[1],
        "chosen_on": int(mask.sum()) if rivals else 0,
        "held_out": {f"{rate:g}, {decay:g}": value for (rate, decay), value in rivals.items() if math.isfinite(value)},
    }
    swept = Swept(scores, truth, measured(data.metric, scores, truth), details)
    skipped = len(unreadable) + len(data.val) - len(read)
    counts = {"train": len(train), "val": len(read), "skipped": skipped}
    return Tuned(swept, tuple(data.val.key(at) for at in read), counts)


def _rivals(
    trainer: Trainer, grid: Grid, train: ImageSource, mask: np.ndarray, tried: Sequence[tuple[float, float]]
) -> dict[tuple[float, float], float]:
    """The metric on the validation split of each (rate, decay), -inf where the training diverged."""
    learnt, judged = (train.select(np.flatnonzero(part).tolist()) for part in (~mask, mask))
    metric, rivals = trainer.data.metric, {}
    for rate, decay in tried:
        try:
            options = grid.options(rate, decay, len(learnt), trainer.common.batch_size)
            network = trainer.train(learnt, options, grid.steps)
            scores, truth, _ = trainer.scores(network, judged, of_train=True)
            rivals[rate, decay] = measured(metric, scores, truth)[metric]
        except Diverged:
            rivals[rate, decay] = -math.inf
        if distributed.rank() == 0:
            say(f"lr {rate:g}, decay {decay:g}: {metric} {rivals[rate, decay]:.2f} on validation")
    return rivals


def per_epoch(images: int, batch: int) -> int:
    """Steps of an epoch."""
    return max(1, math.ceil(images / batch))


def slow_norms(network: nn.Module, steps: int) -> None:
    """Let batch norms remember at least ten steps: 1 - max(1 - 10/s, 0.9) of s steps an epoch (SimCLR, B.8)."""
    for module in network.modules():
        if hasattr(module, "running_mean") and hasattr(module, "momentum"):
            setattr(module, "momentum", min(10 / steps, 0.1))  # noqa: B010 - torch's types know no momentum here
