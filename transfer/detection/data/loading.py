"""detectron2's loaders, none of which can hang a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pretrain.runtime.processes.watch import Patience, watched
from pretrain.runtime.processes.workers import leave_where_nothing_can_be_sent
from transfer.options import WAIT


@dataclass(frozen=True)
class Watched:
    """A loader of detectron2's whose batches come within WAIT minutes, or the run ends in one sentence.

    Args: loader, gives batches of records. split, the name of what it reads.
    """

    loader: Any
    split: str

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def patience(self) -> Patience:
        """How long its batches may take."""
        return Patience(WAIT, self.split, "DATALOADER.NUM_WORKERS")

    def __iter__(self) -> Iterator[Any]:
        leave_where_nothing_can_be_sent()
        return watched(self.loader, self.patience)
