"""What judges predictions, one file an evaluator; a file put into this folder is a value of DATASETS.EVALUATOR.

Such a file offers `EVALUATOR`, a `base.Evaluator`. None of these files imports torch or detectron2 while it is
imported, so that `tools/train_detection.py --help` lists the evaluators at once.
"""

from __future__ import annotations

from functools import cache

from pretrain.runtime.registry import collect
from transfer.detection.data.formats.base import Format
from transfer.detection.evaluation.evaluators.base import Evaluator


@cache
def all_evaluators() -> dict[str, Evaluator]:
    """Every evaluator by its name."""
    return {evaluator.name: evaluator for evaluator in collect(__name__, "EVALUATOR")}


def evaluators_for(data_format: Format) -> list[str]:
    """The names of the evaluators that may judge a format, the format's own choice first."""
    volunteers = [one.name for one in all_evaluators().values() if data_format.name in one.formats]
    named = dict.fromkeys((*data_format.evaluators, *volunteers))
    return [name for name in named if name in all_evaluators() and all_evaluators()[name].task == data_format.task]
