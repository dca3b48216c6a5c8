"""Images that show several classes each: a logistic regression of frozen rows for each class against the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.runtime.options import option
from transfer.datasets.splits import Splits
from transfer.evaluators import Evaluator, Labels, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    from transfer.datasets.labelled import Labelled


@dataclass
class Options:
    """Which splits, and on what the weight decay is chosen."""

    held_out: float = option(0.2, "share of train on which settings are chosen", above=0, below=1)
    splits: Splits = field(default_factory=Splits)


def open_data(root: Path, options: Any, _: Common) -> Labelled:
    """A detection folder of VOC or COCO; `options` has `splits`."""
    from transfer.datasets.multilabel import open_multilabel

    return open_multilabel(root, options.splits)


def measure(subject: Subject, options: Options) -> Outcome:
    """Mean average precision over classes by each of the field's rules, and of each class by its area."""
    from transfer.classifiers import average_precision
    from transfer.classifiers.linear import one_vs_rest
    from transfer.datasets.multilabel import marks_of
    from transfer.features.on_device import DeviceRows, to_device
    from transfer.per_image import of_marks

    (train, test), data, device = subject.rows(), subject.data, subject.device
    assert data.marks is not None
    marks, truth = marks_of(train, data.train, data.marks[0]), marks_of(test, data.val, data.marks[1])
    rows = one_vs_rest.whitened(DeviceRows(train.rows, device), device)
    fitted, details = one_vs_rest.choose_and_fit(rows, marks, options.held_out, subject.common.seed)
    scores = fitted.scores(rows.standardise(to_device(test.rows[:], device)))
    each = average_precision.of_classes(scores, truth).tolist()
    details |= {"AP area of each class": dict(zip(data.train.classes, each, strict=True))}
    kept = of_marks(test.names, scores, truth)
    return Outcome(average_precision.means(scores, truth), one_vs_rest.PROTOCOL, details=details, per_image=kept)


EVALUATOR = Evaluator(
    Task("multilabel", "Multi-label linear", headline="mAP area", order=22),
    "one-vs-rest linear classifiers on a VOC or COCO detection folder: mean average precision",
    measure,
    needs=lambda _: Needs.FROZEN_ROWS,
    options=Options,
    several_processes=True,
    open_data=open_data,
    labels=Labels.SEVERAL,
)
