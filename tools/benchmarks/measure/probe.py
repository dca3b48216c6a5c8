"""What several settings of the linear probe cost at once, beside a single one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.benchmarks import timing
from tools.benchmarks.measure.features import random_features
from tools.benchmarks.timing import Spread
from transfer.classifiers.linear import racing_heads, sgd_heads
from transfer.classifiers.linear.head_options import Head
from transfer.features.rows import Features

SHARE = 0.1  # of the features, held out to choose the best setting


@dataclass(frozen=True)
class Cost:
    """Seconds of training `settings` settings at once and of training one. ratio: several over one."""

    rows: int
    width: int
    classes: int
    epochs: int
    settings: int
    seconds: Spread
    single: Spread
    ratio: Spread


def measure(rows: int, width: int, classes: int, epochs: int, repeats: int, device: torch.device) -> Cost:
    """The cost of the default grid of settings on random rows with a direction for each class.

    Args:
        rows: features that are trained on.
        width: channels of every row.
        classes: of the features.
        epochs: over the features.
        repeats: rounds.
        device: where the heads are trained.
    """
    labels = torch.arange(rows) % classes
    centres = torch.cat(list(random_features(classes, width, 2)))
    train = Features(torch.cat(list(random_features(rows, width, 3))) + centres[labels], labels, (), (), 0.0)
    several = Head(epochs=epochs)
    single = Head(epochs=epochs, lrs=several.lrs[1:2], weight_decays=several.weight_decays[:1])
    contenders = {
        name: lambda given=options: racing_heads.race(
            train, classes, given, sgd_heads.settings(given, given.batch_size), SHARE, 0, device
        )
        for name, options in (("single", single), ("several", several))
    }
    times = timing.take_turns(contenders, repeats, device)
    both = timing.spread(times["several"]), timing.spread(times["single"])
    ratio = timing.faster(times["several"], times["single"])
    return Cost(rows, width, classes, epochs, len(sgd_heads.settings(several, 1)), *both, ratio)


def line(cost: Cost) -> str:
    """A cost in words."""
    return (
        f"{cost.rows} rows x {cost.width}, {cost.classes} classes, {cost.epochs} epochs: {cost.settings} settings "
        f"{cost.seconds.text(1, 2)} s, one {cost.single.text(1, 2)} s; ratio {cost.ratio.text(1, 2)} (below 1.5 wanted)"
    )
