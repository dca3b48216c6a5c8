"""What a task says of itself, so that training, evaluation and drawing need not know which tasks there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from detectron2.config import CfgNode
from torch import nn

from transfer.detection.data.records import Reading, Record, Roles


class Draw(Protocol):
    """Draws predictions and ground truth of `count` records, evenly spread, as OUT/NAME.png; returns the paths."""

    def __call__(
        self, cfg: CfgNode, model: nn.Module, records: Sequence[Record], classes: Sequence[str], count: int, out: Path
    ) -> list[Path]: ...


@dataclass(frozen=True)
class Task:
    """One task.

    name: as formats and evaluators state it.
    class_keys: each MODEL.META_ARCHITECTURE for this task, with the configuration key of its number of classes.
    class_metadata: where detectron2's catalogue keeps the names of the classes.
    kinds: what is predicted and measured, such as ["bbox", "segm"], from the configuration.
    result_task: the `task` of the result file, from the configuration.
    settings: what the name of the protocol says besides schedule and sizes, from the configuration.
    mapper: (configuration, training?) to the mapper of the loader; None for detectron2's own.
    settle: (configuration, reading, roles) mends the records of a split, and raises UserError where the model could
        learn or measure nothing, or would fail later.
    draw: draws predictions next to the ground truth.
    """

    name: str
    class_keys: Mapping[str, str]
    class_metadata: str
    kinds: Callable[[CfgNode], list[str]]
    result_task: Callable[[CfgNode], str]
    settings: Callable[[CfgNode], list[str]]
    mapper: Callable[[CfgNode, bool], Any]
    settle: Callable[[CfgNode, Reading, Roles], None]
    draw: Draw
