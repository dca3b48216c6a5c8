"""The data sets that a command asks for: public ones by their names, or the folders that each evaluator opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pretrain.data.sources import Reading
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import say
from transfer.datasets.benchmarks import find_benchmark
from transfer.datasets.labelled import Labelled, open_labelled
from transfer.datasets.opening import open_benchmark
from transfer.evaluators import Evaluator, Labels
from transfer.options import Common

Opening = Callable[[Path, Any, Common], Labelled]


class Asking(Protocol):
    """An evaluator with its options and those that all share."""

    @property
    def evaluator(self) -> Evaluator:
        """Which measures."""

    @property
    def common(self) -> Common:
        """The options that all evaluators share."""

    @property
    def own(self) -> Any:
        """The evaluator's own options."""


def opened(chosen: Sequence[Asking], root: Path) -> list[dict[Opening | None, Labelled]]:
    """The data sets, each held against what every evaluator needs before the first is measured.

    A public set is one for all evaluators, under None. Of own folders there are the images by how they are opened:
    those that several evaluators open alike are opened, and told, once.

    Raises:
        UserError: a set that is not there or not as published, or that an evaluator cannot judge.
    """
    sets = [open_benchmark(find_benchmark(name), root) for name in dict.fromkeys(chosen[0].common.sets)]
    together: list[dict[Opening | None, Labelled]] = [{None: data} for data in sets] or [_own(chosen, root)]
    for data in (one for each in together for one in each.values()):
        if distributed.asked_rank() == 0:
            for about in dict.fromkeys((data.train.about, data.val.about)):
                say(about)
    for each in together:
        for one in chosen:
            data = each[one.evaluator.open_data if one.evaluator.open_data in each else None]
            _check_labels(one.evaluator, data)
            one.evaluator.check_data(one.own, one.common, data)
    return together


def _own(chosen: Sequence[Asking], root: Path) -> dict[Opening | None, Labelled]:
    found: dict[Opening | None, Labelled] = {}
    for one in chosen:
        how, data = one.evaluator.open_data, one.common.data
        if how not in found:
            read = Reading.of(data)
            found[how] = how(root, one.own, one.common) if how else open_labelled(root, data.class_depth, read)
    return found


def _check_labels(evaluator: Evaluator, data: Labelled) -> None:
    """Refuse a public set whose images have more or fewer classes than an evaluator judges."""
    found = Labels.ONE if data.marks is None else Labels.SEVERAL
    own_images = evaluator.open_data is not None and evaluator.labels is Labels.ONE
    if data.benchmark and own_images:
        raise UserError(f"{evaluator.name} opens its images by itself: leave sets out, or leave {evaluator.name} out.")
    if data.benchmark and found not in evaluator.labels:
        has = "one class an image" if found is Labels.ONE else "several classes an image"
        raise UserError(
            f"{evaluator.name} cannot judge {data.name}, which has {has}: leave {data.benchmark} out of sets, or leave "
            f"{evaluator.name} out."
        )
