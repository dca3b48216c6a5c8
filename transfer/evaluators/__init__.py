"""Evaluators: what is measured of a trunk. One file each; a file that is put into this folder is one.

Such a file offers EVALUATOR. It imports torch only inside its functions, so that `tools/evaluate.py --help` lists all
evaluators at once. The algorithms lie in transfer/classifiers/, the readings in transfer/analysis/.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pretrain.runtime.errors import UserError
from pretrain.runtime.registry import collect
from transfer.options import Common

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

    from pretrain.data.sources import ImageSource
    from transfer.classifiers.linear.linear_head import Head
    from transfer.datasets.labelled import Labelled
    from transfer.features.rows import Features
    from transfer.per_image import PerImage

    Around = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Task:
    """What a result file's `task` means to its readers.

    Args:
        name: as it is typed and as result files have it.
        display_name: as reports have it.
        headline: the metric that stands for the others is the first whose name holds this word; "" is the first of all.
        headline_alone: whether a comparison of networks shows that metric alone.
        units: of metrics that are not in percent, by name.
        less: metrics of which less is better.
        order: of lists and reports; equal ones stand in the order of their names.
        suite: whether it is measured on many data sets, which then are the columns of the report's transfer section.
    """

    name: str
    display_name: str
    headline: str = ""
    headline_alone: bool = True
    units: Mapping[str, str] = field(default_factory=dict)
    less: tuple[str, ...] = ()
    order: int = 100
    suite: bool = False


class Needs(enum.Enum):
    """What an evaluator is given beside the labelled images."""

    FROZEN_ROWS = "frozen rows of train and val"
    OTHER_ROWS = "rows of another network around the frozen trunk"
    TRUNK = "the trunk itself"
    NOTHING = "neither rows nor trunk"


class Labels(enum.Flag):
    """How many classes an image has."""

    ONE = enum.auto()
    SEVERAL = enum.auto()


class OtherRows(Protocol):
    """Gives rows of another network around the trunk, kept as `Subject.rows` are."""

    def __call__(self, kind: str, around: Around, width: int, squashed: bool = False) -> tuple[Features, Features]:
        """Those of (train, val).

        Args:
            kind: a word for them, by which the cache knows them.
            around: puts the network around the trunk.
            width: of its rows.
            squashed: whether it sees whole images, squashed to a square, in place of the test crop.
        """


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Args:
        data: labelled images of train and val.
        trunk: returns a fresh copy of the trunk, in eval mode.
        width: channels of the trunk's rows.
        rows: those of (train, val) under the test transform, once for all evaluators that need them.
        common: the options that all evaluators share.
        device: where to compute.
        arch: the trunk's, as torchvision or timm calls it.
        other_rows: rows (train, val) of another network around the trunk.
        rows_of: rows of any images under the test transform, kept as `rows` are.
        trunk_sha256: returns that of the trunk's tensors.
    """

    data: Labelled
    trunk: Callable[[], nn.Module]
    width: int
    rows: Callable[[], tuple[Features, Features]]
    common: Common
    device: torch.device
    arch: str
    other_rows: OtherRows
    rows_of: Callable[[ImageSource], Features]
    trunk_sha256: Callable[[], str]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.data.train.classes)


@dataclass(frozen=True)
class Outcome:
    """What an evaluator measured.

    Args:
        metrics: numbers by name, in the order in which they are shown; in percent where Task.units says nothing.
        protocol: what was done, in words, with its key settings; numbers of two protocols are never compared.
        counts: images of train and of val, and those that were skipped; None counts those of the rows.
        details: what was chosen or measured on the way.
        pictures: by name what draws one; all are drawn after the numbers are written.
        per_image: what came of each image, written beside the result; None where it is not told.
        head: a linear classifier of the trunk's rows that was trained, written beside the result likewise.
        seen: how val's images were seen, in words, where that was not under the test transform.
    """

    metrics: dict[str, float]
    protocol: str
    counts: dict[str, int] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Callable[[], Image.Image]] = field(default_factory=dict)
    per_image: PerImage | None = None
    head: Head | None = None
    seen: str = ""


@dataclass
class NoOptions:
    """Of an evaluator without options of its own."""


def _accept(*_: Any) -> None:
    """Check nothing."""


@dataclass(frozen=True)
class Evaluator:
    """One way of measuring a trunk. `options` below is always an instance of the evaluator's own options.

    Args:
        task: its names and its metrics.
        summary: what it does, in one line of --help.
        measure: (subject, options) to the outcome.
        needs: (options) to what it is given.
        options: a dataclass of `option(...)` fields.
        check: (options, common) raises UserError where two options do not go together.
        check_data: (options, common, data) raises UserError where the data do not allow what is asked for.
        open_data: (root, options, common) to images that lie in another way than train/CLASS/ and val/CLASS/. It reads
            only options that all evaluators of the same `open_data` share, for these share the images and their rows.
        several_processes: whether several processes may share it: each calls `measure`, and all get the same outcome.
        labels: what it can judge: images of one class each, images of several (Labelled.marks), or both.
    """

    task: Task
    summary: str
    measure: Callable[[Subject, Any], Outcome]
    needs: Callable[[Any], Needs]
    options: type = NoOptions
    check: Callable[[Any, Common], None] = _accept
    check_data: Callable[[Any, Common, Labelled], None] = _accept
    open_data: Callable[[Path, Any, Common], Labelled] | None = None
    several_processes: bool = False
    labels: Labels = Labels.ONE

    @property
    def name(self) -> str:
        """As it is typed."""
        return self.task.name


@cache
def evaluators() -> dict[str, Evaluator]:
    """All evaluators by name, in the order of reports."""
    entries: list[Evaluator] = collect(__name__, "EVALUATOR")
    by_name = {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.task.order, entry.name))}
    assert len(by_name) == len(entries), f"two evaluators have one name: {sorted(entry.name for entry in entries)}"
    shared = {one.name for one in fields(Common)}
    for entry in entries:
        again = shared & {one.name for one in fields(entry.options)}
        assert not again, (
            f"{entry.name} has the shared options {sorted(again)} again: it is given them in Subject.common"
        )
    return by_name


def find_evaluator(name: str, what: str = "task") -> Evaluator:
    """The evaluator of that name.

    Args: what, stands before the name in the message.

    Raises:
        UserError: there is none.
    """
    if name not in evaluators():
        known = ", ".join(evaluators())
        raise UserError(f"{what} '{name}' is not known: choose among {known}, or several as knn,linear.")
    return evaluators()[name]
