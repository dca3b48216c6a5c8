"""Further readings of frozen rows. One file each; a file that is put into this folder is a reading.

Such a file offers READING. It imports torch only inside its functions, as evaluators do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.registry import collect

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from pretrain.data.sources import ImageSource
    from transfer.datasets.labelled import Labelled
    from transfer.features.on_device import DeviceRows
    from transfer.features.pictures import Transform
    from transfer.features.rows import Features

NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO's setting of k-NN


@dataclass(frozen=True)
class FrozenRows:
    """What every reading may use.

    Args:
        train, val: rows of the images of `data`.
        data: the labelled images.
        changed: returns rows of images that are changed after the test transform, or not at all. What changes them goes
            to other processes, so it is no lambda.
        images: images of val at most, for readings that take long.
        seed: of what is drawn.
        device: where to compute.
    """

    train: Features
    val: Features
    data: Labelled
    changed: Callable[[ImageSource, Transform | None], Features]
    images: int
    seed: int
    device: torch.device

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.data.train.classes)

    @cached_property
    def nearest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and indices of the 20 nearest training rows of every val row, fewer where train has fewer."""
        from transfer.classifiers import knn

        return knn.neighbours_of(self.train, self.val, [NEIGHBOURS], self.device, self.bank)

    @cached_property
    def bank(self) -> DeviceRows:
        """The training rows where they are computed with, moved there once for all readings."""
        from transfer.features.on_device import DeviceRows

        return DeviceRows(self.train.rows, self.device)

    def evenly(self, most: int) -> torch.Tensor:
        """Indices of at most `most` val rows, evenly spaced in their order, so that classes keep their shares."""
        import torch

        count = len(self.val.rows)
        return torch.tensor([index * count // min(most, count) for index in range(min(most, count))])


@dataclass(frozen=True)
class Reading:
    """One reading.

    Args:
        name: as it is typed in readings=[...].
        shows: what it shows, in one line.
        measure: (rows) to names with numbers, in percent where they have a unit, and with functions that draw pictures.
        units: of numbers that are not in percent, by their names.
        needs: further libraries, by the module that is imported the name that pip installs.
        least_images: of val.
        order: of the result file; equal ones stand in the order of their names.
    """

    name: str
    shows: str
    measure: Callable[[FrozenRows], Iterator[tuple[str, float | Callable[[], Image.Image]]]]
    needs: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    least_images: int = 1
    order: int = 100


@cache
def readings() -> dict[str, Reading]:
    """All readings by name, in the order of the result file."""
    entries: list[Reading] = collect(__name__, "READING")
    by_name = {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.order, entry.name))}
    assert len(by_name) == len(entries), f"two readings have one name: {sorted(entry.name for entry in entries)}"
    return by_name


def check_reading(reading: Reading, images: int) -> None:
    """Refuse a reading that cannot be made, before anything is computed.

    Args: images, of val that it would be made of.

    Raises:
        UserError: a library is not installed, or there are too few images.
    """
    for module, package in reading.needs.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"the reading {reading.name} needs {package}: pip install {package}, or name others in readings=[...]."
            )
    if images < reading.least_images:
        raise UserError(
            f"the reading {reading.name} needs at least {reading.least_images} images of val, not {images}: give more, "
            "or name others in readings=[...]."
        )
