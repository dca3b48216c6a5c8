"""From images to batches of views, and the order in which the steps of a run see the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from pretrain.augment.multicrop import Batch, MultiCrop, Views
from pretrain.data.decode import UnreadableImage
from pretrain.data.mixture import Mixture
from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.seeds import seed_of

Item = tuple[Views, list[str], int]  # views of an image, files that were passed over for it, its class or -1


class ViewDataset(Dataset[Item]):
    """`dataset[epoch, index] -> (views, files that were passed over, class of the image or -1)`.

    Randomness is keyed by (seed, epoch, index, view), so the views of a step do not depend on which worker makes them,
    on the number of workers, or on where a run was resumed. An unreadable file is replaced by the next readable one.
    """

    def __init__(self, source: ImageSource, views: MultiCrop, seed: int) -> None:
        self.source, self.views, self.seed = source, views, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Item:
        epoch, index = place
        labels = self.source.labels
        unreadable: list[str] = []
        for offset in range(len(self.source)):
            taken = (index + offset) % len(self.source)
            try:
                pixels = self.source.read_pixels(taken)
            except UnreadableImage as error:
                unreadable.append(str(error))
                continue
            return self.views(pixels, self.seed, epoch, index), unreadable, -1 if labels is None else labels[taken]
        raise UserError(f"no file under {self.source.where} can be decoded, for example {unreadable[0]}.")


def collate(images: Sequence[Item]) -> Batch:
    """The batch of n images' views."""
    views, unreadable, labels = zip(*images, strict=True)
    crops = _stacked([view.crops for view in views])
    draws = None if views[0].draws is None else _stacked([view.draws for view in views])
    return Batch(crops, draws, [name for names in unreadable for name in names], torch.tensor(labels))


def _stacked(images: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """For each size of views (V_s, ...) of n images, one tensor (V_s, n, ...)."""
    return tuple(torch.stack(size, dim=1) for size in zip(*images, strict=True))


class StepSampler(Sampler[list[tuple[int, int]]]):
    """The (epoch, index) pairs of this rank's share of every step of a run, from `start` on.

    Each epoch is a fresh permutation drawn from (seed, epoch), or what a mixture of several roots makes of it
    (mixture.py); the last, incomplete batch of an epoch is dropped. One
    iterator serves the whole run, so workers never stop between epochs and a resumed run continues mid-epoch.

    Raises:
        UserError: fewer images than a batch, or a batch that the ranks cannot share equally.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        epochs: float,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        mixture: Mixture | None = None,
    ) -> None:
        if images < batch_size:
            raise UserError(
                f"{images} images are fewer than one batch of {batch_size}: lower optim.batch_size or add images."
            )
        if batch_size % world_size:
            raise UserError(
                f"optim.batch_size={batch_size} cannot be shared equally by {world_size} processes: "
                "choose a multiple of their number."
            )
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.world_size, self.mixture = rank, world_size, mixture
        self.steps_per_epoch = images // batch_size
        self.steps = round(epochs * self.steps_per_epoch)
        self.start = 0
        self._shuffled = (-1, torch.empty(0))  # an epoch and its order, kept for the next call

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.steps):
            yield self.keys(step)

    def keys(self, step: int) -> list[tuple[int, int]]:
        """(epoch, index) of this rank's images of the step after `step` steps."""
        epoch, position = divmod(step, self.steps_per_epoch)
        batch = self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        return [(epoch, index) for index in batch[self.rank :: self.world_size].tolist()]

    def _order(self, epoch: int) -> torch.Tensor:
        if self._shuffled[0] != epoch and self.mixture is not None:
            self._shuffled = epoch, self.mixture.order(self.seed, epoch)
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
            self._shuffled = epoch, torch.randperm(self.images, generator=generator)
        return self._shuffled[1]
