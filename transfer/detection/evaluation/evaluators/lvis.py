"""AP of LVIS, also of its rare, common and frequent classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer.detection.evaluation.evaluators.base import (
    AVERAGE_PRECISIONS,
    Evaluator,
    Question,
    summarise_precisions,
)

if TYPE_CHECKING:
    from detectron2.evaluation import DatasetEvaluator


def open_lvis(question: Question) -> list[DatasetEvaluator]:
    """LVIS' rules on top of pycocotools."""
    from transfer.detection.evaluation.lvis_ap import FederatedEvaluator

    return [FederatedEvaluator(question.split, question.kinds)]


EVALUATOR = Evaluator(
    name="lvis",
    help="AP on the classes that were looked for in an image; APr, APc and APf of rare, common and frequent ones",
    protocol="LVIS AP",
    metrics=(*AVERAGE_PRECISIONS, "APr", "APc", "APf"),
    open=open_lvis,
    summarise=summarise_precisions,
)
