"""What a format of detection data says of itself, and what it is asked to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.runtime.errors import UserError
from transfer.detection.data.records import Reading

INSTANCES, SEMANTIC = "instances", "semantic"  # the names of the tasks in transfer/detection/tasks


@dataclass(frozen=True)
class Split:
    """One entry of DATASETS.TRAIN or DATASETS.TEST.

    root: DATASETS.ROOT. entry: as configured, a benchmark's name replaced by its place. classes: DATASETS.CLASSES.
    name: of the split in detectron2's catalogues. scratch: folder for files that the evaluation needs.
    ignored: the value of label images that no class has.
    """

    root: Path
    entry: str
    classes: tuple[str, ...]
    name: str
    scratch: Path
    ignored: int = 255

    def path(self) -> Path:
        """ROOT/ENTRY."""
        return self.root / self.entry

    def pair(self) -> tuple[Path, Path]:
        """The halves of FIRST:SECOND below the root.

        Raises:
            UserError: the entry has no colon.
        """
        first, colon, second = self.entry.partition(":")
        if not colon:
            raise UserError(f"split '{self.entry}' is not of the form IMAGES:LABELS.")
        return self.root / first, self.root / second


@dataclass(frozen=True)
class Format:
    """One format of detection data.

    name: the value of DATASETS.LAYOUT that asks for it.
    help: one line that says what an entry of DATASETS.TRAIN or DATASETS.TEST is.
    read: a split to its checked records; raises UserError in one sentence where the data cannot be used.
    evaluators: names of those that may judge it (see transfer/detection/evaluation/evaluators).
    task: INSTANCES or SEMANTIC.
    holds: of "masks" and "keypoints" what it may hold besides boxes.
    names_classes: whether the files name their classes; if not, DATASETS.CLASSES must.
    benchmarks: regular expressions of entries to where these lie below DATASETS.ROOT, such as voc_2007_(\\w+).
    protocol: an evaluator's name to how its metric is called on this format, where not as the evaluator says.
    """

    name: str
    help: str
    read: Callable[[Split], Reading]
    evaluators: tuple[str, ...]
    task: str = INSTANCES
    holds: tuple[str, ...] = ()
    names_classes: bool = False
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, str] = field(default_factory=dict)

    def place(self, entry: str) -> str:
        """Where an entry lies below the root: a benchmark's place, and any other entry itself."""
        for pattern, place in self.benchmarks.items():
            if re.fullmatch(pattern, entry):
                return re.sub(pattern, place, entry)
        return entry
