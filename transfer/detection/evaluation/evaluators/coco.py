"""AP as COCO defines it, by pycocotools: of boxes, masks and keypoints, by class, with precision over recall."""

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


def open_coco(question: Question) -> list[DatasetEvaluator]:
    """pycocotools' evaluator, on the truth that the catalogue has written of the checked records."""
    from transfer.detection.evaluation.pr_curves import CurvesEvaluator

    return [
        CurvesEvaluator(
            question.split,
            question.kinds,
            output_dir=str(question.out),
            use_fast_impl=False,
            allow_cached_coco=False,
            kpt_oks_sigmas=question.cfg.TEST.KEYPOINT_OKS_SIGMAS,
        )
    ]


EVALUATOR = Evaluator(
    name="coco",
    help="AP over IoU .5 to .95, AP50 and AP75 by pycocotools",
    protocol="COCO AP",
    metrics=AVERAGE_PRECISIONS,
    open=open_coco,
    summarise=summarise_precisions,
)
