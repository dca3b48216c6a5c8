"""A class at every pixel."""

from __future__ import annotations

from detectron2.config import CfgNode

from transfer.detection.data.formats.base import SEMANTIC
from transfer.detection.data.mapper import SemanticMapper
from transfer.detection.data.shapes import check_shapes
from transfer.detection.tasks.base import Task
from transfer.detection.visualization.semantic import draw_labels


def settings(cfg: CfgNode) -> list[str]:
    """The crops of the training."""
    size = "x".join(str(side) for side in cfg.INPUT.CROP.SIZE)
    return [f"crops of {size}"] if cfg.INPUT.CROP.ENABLED else []


TASK = Task(
    name=SEMANTIC,
    class_keys={"SemanticSegmentor": "MODEL.SEM_SEG_HEAD.NUM_CLASSES"},
    class_metadata="stuff_classes",
    kinds=lambda cfg: ["iou"],
    result_task=lambda cfg: "semantic",
    settings=settings,
    mapper=SemanticMapper,
    settle=check_shapes,  # label images are checked as they are read
    draw=draw_labels,
)
