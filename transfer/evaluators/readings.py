"""Further readings of frozen rows (transfer/analysis/): numbers, and pictures that are drawn once these are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretrain.runtime.options import option
from transfer.analysis import check_reading, readings
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    from pretrain.data.sources import ImageSource
    from transfer.datasets.labelled import Labelled
    from transfer.features.pictures import Transform
    from transfer.features.rows import Features


@dataclass
class Options:
    """Which readings, and of how many images."""

    readings: list[str] = option([], "which readings; none means all", choices=tuple(readings()))
    images: int = option(1000, "images of val at most, for the readings that take long", at_least=1)


def check_images(options: Options, _: Common, data: Labelled) -> None:
    """Refuse readings whose library is not installed, or that so few images do not allow.

    Raises:
        UserError: naming the reading and the remedy.
    """
    for name in options.readings or readings():
        check_reading(readings()[name], min(options.images, len(data.val)))


def measure(subject: Subject, options: Options) -> Outcome:
    """Every chosen reading, in the order in which they were given."""
    from transfer.analysis import FrozenRows
    from transfer.features.extract import extract_with

    common = subject.common

    def changed(source: ImageSource, change: Transform | None) -> Features:
        """Rows of changed images."""
        return extract_with(common, subject.trunk(), source, subject.device, "changed images", change)

    train, val = subject.rows()
    frozen = FrozenRows(train, val, subject.data, changed, options.images, common.seed, subject.device)
    metrics, pictures = {}, {}
    for name in options.readings or readings():
        for label, value in readings()[name].measure(frozen):
            if isinstance(value, float):
                metrics[label] = value
            else:
                pictures[name] = value
    counts = {"train": len(train.rows), "val": len(val.rows), "skipped": len(val.skipped)}
    protocol = f"readings of frozen trunk features, those that take long of at most {options.images} images of val"
    return Outcome(metrics, protocol, counts, pictures=pictures)


EVALUATOR = Evaluator(
    Task(
        "readings",
        "Further readings",
        headline_alone=False,
        units={name: unit for reading in readings().values() for name, unit in reading.units.items()},
        order=40,
    ),
    "few-shot, per class, retrieval, RankMe, LiDAR, alpha-ReQ, robustness; pictures of neighbours and t-SNE",
    measure,
    needs=lambda _: Needs.FROZEN_ROWS,
    options=Options,
    check_data=check_images,
    several_processes=True,
)
