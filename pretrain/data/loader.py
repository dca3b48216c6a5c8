"""Images on disk, as class folders, a flat unlabelled folder or a packed set, and the order in which steps see them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from pretrain.augment.multicrop import MultiCrop, Views
from pretrain.data.decode import UnreadableImage, decode
from pretrain.data.packed import Packed, is_packed, open_packed
from pretrain.runtime.errors import UserError
from pretrain.runtime.seeds import seed_of

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageSource:
    """Where the images of one set lie.

    paths: one file an image, sorted; those of a packed set have its folder for a root and need not exist.
    labels: class index of each, or None for a flat folder. classes: folder names in sorted order, empty for a flat
    folder. packed, places: the packed set that holds the images, and where in it; None for files.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    packed: Packed | None = None
    places: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Sequence[int]) -> ImageSource:
        """The same set with no more than the images at `indices`, in their order."""
        columns = {name: getattr(self, name) for name in ("paths", "labels", "places")}
        kept = {
            name: None if values is None else tuple(values[at] for at in indices) for name, values in columns.items()
        }
        return replace(self, **kept)

    def read(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (H, W, 3).

        Raises:
            UnreadableImage: missing, empty, cut short, damaged or no image.
        """
        path = self.paths[index]
        if self.packed is not None:
            return decode(self.packed.read(self.places[index]), path)
        try:
            return decode(path.read_bytes(), path)
        except UnreadableImage:
            raise
        except OSError as error:
            raise UnreadableImage(f"{path} ({type(error).__name__})") from error


def _images_below(folder: Path) -> list[Path]:
    found = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [Path(directory, name) for name in sorted(names) if name.lower().endswith(EXTENSIONS)]
    return found


def open_source(root: str | Path) -> ImageSource:
    """Read a packed set, ROOT/CLASS/**/image as class folders, or ROOT/image as a flat folder of unlabelled images.

    Raises:
        UserError: the folder is missing, holds no image, or is a damaged packed set.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"image folder {root} does not exist: set data.root to a folder of images or of class folders.")
    if is_packed(root):
        return _open_packed(root)
    flat = [path for path in sorted(root.iterdir()) if path.is_file() and path.name.lower().endswith(EXTENSIONS)]
    if flat:
        return ImageSource(root, tuple(flat), None, ())
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    per_class = [_images_below(root / name) for name in classes]
    paths = tuple(path for found in per_class for path in found)
    if not paths:
        raise UserError(f"image folder {root} holds no image ({', '.join(EXTENSIONS)}): check data.root.")
    labels = tuple(label for label, found in enumerate(per_class) for _ in found)
    return ImageSource(root, paths, labels, tuple(classes))


def _open_packed(root: Path) -> ImageSource:
    packed = open_packed(root)
    paths, classes = tuple(root / name for name in packed.names), tuple(packed.header["classes"])
    labels = tuple(packed.labels.tolist()) if classes else None
    return ImageSource(root, paths, labels, classes, packed, tuple(range(len(paths))))


def read_image(source: ImageSource, index: int) -> Image.Image:
    """One image as an RGB picture.

    Raises:
        UnreadableImage: missing, empty, cut short, damaged or no image.
    """
    return Image.fromarray(source.read(index))


class Batch(NamedTuple):
    """The views of n images.

    crops: for each size uint8 (V_s, n, 3, S, S), the global views first. draws: (V_s, n, P) float32, the numbers of
    the photometry where it is left to the device, else None. unreadable: files that were passed over.
    """

    crops: tuple[torch.Tensor, ...]
    draws: tuple[torch.Tensor, ...] | None
    unreadable: list[str]


class ViewDataset(Dataset):
    """`dataset[epoch, index] -> (views, files that were passed over)`.

    Randomness is keyed by (seed, epoch, index, view), so the views of a step do not depend on which worker makes them,
    on the number of workers, or on where a run was resumed. An unreadable file is replaced by the next readable one.
    """

    def __init__(self, source: ImageSource, views: MultiCrop, seed: int) -> None:
        self.source, self.views, self.seed = source, views, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Views, list[str]]:
        epoch, index = place
        unreadable: list[str] = []
        for offset in range(len(self.source)):
            try:
                pixels = self.source.read((index + offset) % len(self.source))
            except UnreadableImage as error:
                unreadable.append(str(error))
                continue
            return self.views(pixels, self.seed, epoch, index), unreadable
        raise UserError(f"no file under {self.source.root} can be decoded, for example {unreadable[0]}.")


def collate(images: Sequence[tuple[Views, list[str]]]) -> Batch:
    """The batch of n images' views."""
    views, unreadable = zip(*images, strict=True)
    crops = _stacked([view.crops for view in views])
    draws = None if views[0].draws is None else _stacked([view.draws for view in views])
    return Batch(crops, draws, [name for names in unreadable for name in names])


def _stacked(images: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """For each size of views (V_s, ...) of n images, one tensor (V_s, n, ...)."""
    return tuple(torch.stack(size, dim=1) for size in zip(*images, strict=True))


def as_worker(_: int) -> None:
    """What a loader's process starts with: one thread, and Ctrl-C left to the process that it works for."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class StepSampler(Sampler[list[tuple[int, int]]]):
    """The (epoch, index) pairs of this rank's share of every step of a run, from `start` on.

    Each epoch is a fresh permutation drawn from (seed, epoch); the last, incomplete batch of an epoch is dropped. One
    iterator serves the whole run, so workers never stop between epochs and a resumed run continues mid-epoch.

    Raises:
        UserError: fewer images than a batch, or a batch that the ranks cannot share equally.
    """

    def __init__(
        self, images: int, batch_size: int, epochs: float, seed: int, rank: int = 0, world_size: int = 1
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
        self.rank, self.world_size = rank, world_size
        self.steps_per_epoch = images // batch_size
        self.steps = round(epochs * self.steps_per_epoch)
        self.start = 0
        self._shuffled = (-1, torch.empty(0))  # the epoch whose order is at hand

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
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
            self._shuffled = epoch, torch.randperm(self.images, generator=generator)
        return self._shuffled[1]
