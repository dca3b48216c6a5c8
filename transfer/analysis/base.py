"""What every reading may use: features of train and val, their images, and the trunk for further images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from pretrain.data.sources import ImageSource
from transfer.datasets.labelled import Labelled
from transfer.evaluators import knn
from transfer.features.extract import Features, Transform

Value = float | Image.Image
NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO's setting


@dataclass(frozen=True)
class Material:
    """train, val: features of data. further: those of other images, under the test transform and what it is given.

    images: of val at most, for readings that are dear. seed: of what is drawn.
    """

    train: Features
    val: Features
    data: Labelled
    further: Callable[[ImageSource, Transform], Features]
    images: int
    seed: int
    device: torch.device

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.data.train.classes)

    @cached_property
    def nearest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and places of the 20 nearest training rows of every val row, fewer where train has fewer."""
        return knn.neighbours_of(self.train, self.val, [NEIGHBOURS], self.device)

    def evenly(self, most: int) -> torch.Tensor:
        """Places of at most `most` val rows, evenly spaced in their order, so that classes keep their shares."""
        count = len(self.val.rows)
        return torch.tensor([place * count // min(most, count) for place in range(min(most, count))])
