"""What an evaluator says of itself, what it is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.detection.data.formats.base import INSTANCES

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from detectron2.evaluation import DatasetEvaluator

AVERAGE_PRECISIONS = ("AP", "AP50", "AP75")  # over IoU .5 to .95, at .5, at .75
Output = Mapping[str, Mapping[str, Any]]  # of one of detectron2's evaluators: kind to name to percent


@dataclass(frozen=True)
class Question:
    """What is to be judged.

    cfg: the configuration. split: its name in detectron2's catalogues. kinds: what is predicted, such as
    ("bbox", "segm"). out: folder for the evaluator's own files.
    """

    cfg: CfgNode
    split: str
    kinds: tuple[str, ...]
    out: Path


@dataclass
class Measured:
    """metrics: by name, in percent. by_class: kind to class to percent. curves: kind to what `mean_curves` returns.

    Without curves for LVIS and for labels.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluator:
    """One evaluator.

    name: the value of DATASETS.EVALUATOR that asks for it.
    help: one line that says what it measures.
    protocol: its metric's name in the protocol of a result.
    metrics: names of its numbers of each kind, the headline first.
    open: a question to detectron2's evaluators, which all see the same predictions in one pass.
    summarise: (their outputs in the same order, kinds, metrics) to what was measured, without curves.
    task: a name of transfer/detection/tasks.
    formats: names of formats that it may judge besides those which name it themselves.
    """

    name: str
    help: str
    protocol: str
    metrics: tuple[str, ...]
    open: Callable[[Question], list[DatasetEvaluator]]
    summarise: Callable[[Sequence[Output], Sequence[str], Sequence[str]], Measured]
    task: str = INSTANCES
    formats: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The one number that stands for the others."""
        return self.metrics[0]


def summarise_precisions(outputs: Sequence[Output], kinds: Sequence[str], metrics: Sequence[str]) -> Measured:
    """KIND_METRIC from the first evaluator, average precisions of each class from the last.

    A detector that finds nothing at all has AP 0, where detectron2 says NaN.
    """
    values = {
        f"{kind}_{metric}": number_or_zero(outputs[0][kind].get(metric, 0.0)) for kind in kinds for metric in metrics
    }
    by_class = {kind: scores_by_class(outputs[-1][kind], "AP-") for kind in kinds if kind in outputs[-1]}
    return Measured(values, {kind: scores for kind, scores in by_class.items() if scores})


def scores_by_class(scores: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers whose name is PREFIX + CLASS, by class; a class that does not occur in the split has none."""
    named = {key.removeprefix(prefix): float(value) for key, value in scores.items() if key.startswith(prefix)}
    return {name: value for name, value in named.items() if not math.isnan(value)}


def number_or_zero(value: Any) -> float:
    """A number, 0 for NaN."""
    return 0.0 if math.isnan(float(value)) else float(value)
