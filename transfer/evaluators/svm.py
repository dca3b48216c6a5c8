"""Linear SVMs on images that show several classes each: all of train, and few images a class (Goyal et al., 2019)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.datasets.splits import Splits
from transfer.evaluators import Evaluator, Labels, Needs, Outcome, Subject, Task
from transfer.evaluators.multilabel import open_data
from transfer.options import STAGES, Common

if TYPE_CHECKING:
    from transfer.datasets.labelled import Labelled
    from transfer.features.rows import Features


@dataclass
class Options:
    """How many images a class, how often, and at which costs."""

    shots: list[int] = option(
        [1, 2, 4, 8, 16, 32, 64, 96], "images a class that low-shot machines learn from", at_least=1
    )
    draws: int = option(5, "draws of these images", at_least=1, at_most=1000)
    costs: list[float] = option([], "costs that compete; none means the published 18", above=0)
    full: bool = option(True, "also machines of all images of train")
    stage: str = option(
        "",
        "stage of the network whose pooled map is looked at, as published; unset is the trunk's output",
        choices=("", *STAGES),
    )
    splits: Splits = field(default_factory=Splits)


def check_library(options: Options, _: Common) -> None:
    """Refuse where scikit-learn is not installed, or nothing is asked for.

    Raises:
        UserError: with the command that installs it.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("svm needs scikit-learn: pip install scikit-learn.")
    if not options.full and not options.shots:
        raise UserError("svm has nothing to do: give shots=[1,2], or leave out full=false.")


def check_shots(options: Options, _: Common, data: Labelled) -> None:
    """Refuse more shots than a class has images in train, and too few images for three folds.

    Raises:
        UserError: naming the class that has the fewest.
    """
    from transfer.classifiers.linear.svm import FOLDS

    assert data.marks is not None
    there = (data.marks[0] == 1).sum(0)
    fewest = int(there.argmin())
    most = max(options.shots, default=0)
    if most > there[fewest]:
        raise UserError(
            f"shots has {most}, but class '{data.train.classes[fewest]}' is in {there[fewest]} images of train: lower "
            f"shots, or leave such classes out by splits.least={most}."
        )
    if options.full and options.splits.least < FOLDS:
        raise UserError(f"splits.least={options.splits.least} is below the {FOLDS} folds of svm: give full=false.")


def measure(subject: Subject, options: Options) -> Outcome:
    """mAP of all images by each rule, and for each number of shots its mean and deviation over draws."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    from transfer.classifiers.linear import svm
    from transfer.datasets.multilabel import marks_of
    from transfer.features.rows import counts_of
    from transfer.per_image import of_marks

    train, test = _rows(subject, options.stage)
    data, seed = subject.data, subject.common.seed
    assert data.marks is not None
    known = svm.unit(train.rows[:].numpy()), marks_of(train, data.train, data.marks[0])
    asked = svm.unit(test.rows[:].numpy()), marks_of(test, data.val, data.marks[1])
    costs, metrics, details, kept = options.costs or list(svm.COSTS), dict[str, float](), dict[str, object](), None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        if options.full:
            metrics, details, scores = svm.score_all(known, asked, costs, seed, data.train.classes)
            kept = of_marks(test.names, scores, asked[1], svm.ALL)
        of_shots = {}
        for count, mean, deviation, cost in svm.few(known, asked, options.shots, options.draws, costs, seed):
            metrics |= {f"k={count} mAP": mean, f"k={count} std": deviation}
            of_shots[count] = cost
    details |= {"costs_of_shots": of_shots, "fits_cut_short": len(told)}
    of = f"pooled map of {options.stage}; " if options.stage else ""
    protocol = of + svm.protocol(options.draws, len(costs))
    return Outcome(metrics, protocol, counts_of(train, test), details, per_image=kept)


def _rows(subject: Subject, stage: str) -> tuple[Features, Features]:
    from transfer.features.stages import stage_rows

    if not stage:
        return subject.rows()
    return stage_rows(subject.other_rows, subject.arch, subject.common.image_size)[stage]


EVALUATOR = Evaluator(
    Task("svm", "Linear SVM, few images", headline="mAP", headline_alone=False, order=24),
    "linear SVMs on a VOC or COCO detection folder, of all images and of 1 to 96 a class",
    measure,
    needs=lambda options: Needs.OTHER_ROWS if options.stage else Needs.FROZEN_ROWS,
    options=Options,
    check=check_library,
    check_data=check_shots,
    several_processes=True,
    open_data=open_data,
    labels=Labels.SEVERAL,
)
