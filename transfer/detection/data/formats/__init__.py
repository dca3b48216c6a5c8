"""How detection data lie on disk, one file a format; a file that is put into this folder is a value of DATASETS.LAYOUT.

Such a file offers `FORMAT`, a `base.Format`. None of these files imports torch or detectron2 while it is imported, so
that `tools/train_detection.py --help` lists the formats at once.
"""

from __future__ import annotations

from functools import cache

from pretrain.runtime.registry import collect
from transfer.detection.data.formats.base import Format


@cache
def all_formats() -> tuple[Format, ...]:
    """Every format, by the name of its file."""
    return tuple(collect(__name__, "FORMAT"))


def formats_of(task: str) -> dict[str, Format]:
    """The formats that hold the data of a task (a name of transfer/detection/tasks), by name."""
    return {one.name: one for one in all_formats() if one.task == task}
