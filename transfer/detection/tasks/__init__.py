"""What a model is trained for, one file a task: instances (boxes, masks, keypoints) or semantic labels.

Such a file offers `TASK`, a `base.Task`.
"""

from __future__ import annotations

from functools import cache

from detectron2.config import CfgNode

from pretrain.runtime.registry import collect
from transfer.detection.tasks.base import Task


@cache
def architectures() -> dict[str, Task]:
    """Every value that MODEL.META_ARCHITECTURE may have, with the task that it is for."""
    return {name: task for task in collect(__name__, "TASK") for name in task.class_keys}


def task_of(cfg: CfgNode) -> Task:
    """The task of a configuration whose architecture was checked."""
    return architectures()[cfg.MODEL.META_ARCHITECTURE]
