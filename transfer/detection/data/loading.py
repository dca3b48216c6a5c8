"""detectron2's loaders, none of which can hang a run or end it before its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from pretrain.runtime.processes.parent import leave_stops_to_parent
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

    def __post_init__(self) -> None:
        own = self.loader if isinstance(self.loader, DataLoader) else self.loader.dataset  # grouped by aspect ratio
        own.worker_init_fn = partial(_init_worker, own.worker_init_fn)

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def patience(self) -> Patience:
        """How long its batches may take."""
        return Patience(WAIT, self.split, "DATALOADER.NUM_WORKERS")

    def __iter__(self) -> Iterator[Any]:
        leave_where_nothing_can_be_sent()
        return watched(self.loader, self.patience)


def _init_worker(detectron2s: Callable[[int], None] | None, worker: int) -> None:
    leave_stops_to_parent()
    if detectron2s is not None:
        detectron2s(worker)
