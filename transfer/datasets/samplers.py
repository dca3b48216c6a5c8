"""Which images a step of a labelled training sees, in one process and in each of several."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from pretrain.runtime import distributed

Keys = list[tuple[int, int]]


class EpochBatches:
    """Batches of (epoch, index) over `epochs` fresh permutations drawn from `seed`, for a loader that lives throughout.

    The last batch of an epoch may be smaller; a single image left over is passed over in that epoch, because batch norm
    cannot normalise one value, and so are the up to `ranks` - 1 images that the ranks could not share equally. With
    `steps` there are so many batches in place of `epochs`, which may end within an epoch.
    """

    def __init__(
        self, images: int, batch_size: int, epochs: int, seed: int, ranks: int = 1, steps: int | None = None
    ) -> None:
        assert batch_size % ranks == 0, f"{ranks} ranks cannot share a batch of {batch_size} equally"
        self.images, self.batch_size, self.seed = images, batch_size, seed
        left = images % batch_size
        left -= left % ranks
        self.per_epoch = images // batch_size + (left > 1)
        self.used = images // batch_size * batch_size + (left if left > 1 else 0)
        self.steps = self.per_epoch * epochs if steps is None else steps

    @property
    def images_in_all(self) -> int:
        """Images of all batches together."""
        epochs, rest = divmod(self.steps, self.per_epoch)
        return epochs * self.used + min(rest * self.batch_size, self.used)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Keys]:
        return itertools.islice(self._endless(), self.steps)

    def _endless(self) -> Iterator[Keys]:
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in itertools.count():
            order = torch.randperm(self.images, generator=generator)[: self.used]
            for batch in torch.split(order, self.batch_size):
                yield [(epoch, index) for index in batch.tolist()]


class RankBatches:
    """This rank's share of every batch, for a loader; empty where a batch is smaller than the number of ranks."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Keys]:
        return (batch[distributed.rank() :: distributed.world_size()] for batch in self.batches)
