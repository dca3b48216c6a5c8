"""Images on disk, as class folders or one flat unlabelled folder, and the order in which steps see them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from pretrain.errors import UserError
from pretrain.seeds import seed_of
from pretrain.views import TwoCrop

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


class UnreadableImage(OSError):
    """An image file that cannot be decoded; callers skip it, count it and name it once."""


@dataclass(frozen=True)
class ImageSource:
    """Where the images of one set lie.

    paths: one file an image, sorted. labels: class index of each, or None for a flat folder.
    classes: folder names in sorted order, empty for a flat folder.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def _images_below(folder: Path) -> list[Path]:
    found = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [Path(directory, name) for name in sorted(names) if name.lower().endswith(EXTENSIONS)]
    return found


def open_folder(root: str | Path) -> ImageSource:
    """Read ROOT/CLASS/**/image as class folders, or ROOT/image as a flat folder of unlabelled images.

    Raises:
        UserError: the folder is missing or holds no image.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"image folder {root} does not exist: set data.root to a folder of images or of class folders.")
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


def read_image(path: Path) -> Image.Image:
    """Decode one file to an RGB picture.

    Raises:
        UnreadableImage: the file is missing, empty, cut short or no image.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} ({type(error).__name__})") from error


class ViewDataset(Dataset):
    """`dataset[epoch, index] -> (views uint8 (V, 3, S, S), names of files that could not be read)`.

    Randomness is keyed by (seed, epoch, index), so the views of a step do not depend on which worker makes them, on
    the number of workers, or on where a run was resumed. An unreadable file is replaced by the next readable one.
    """

    def __init__(self, source: ImageSource, views: TwoCrop, seed: int) -> None:
        self.source, self.views, self.seed = source, views, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, list[str]]:
        epoch, index = key
        unreadable: list[str] = []
        for offset in range(len(self.source)):
            path = self.source.paths[(index + offset) % len(self.source)]
            try:
                image = read_image(path)
            except UnreadableImage as error:
                unreadable.append(str(error))
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_of(self.seed, epoch, index))
                return self.views(image), unreadable
        raise UserError(f"no file under {self.source.root} can be decoded, for example {unreadable[0]}.")


def collate(samples: Sequence[tuple[torch.Tensor, list[str]]]) -> tuple[torch.Tensor, list[str]]:
    """n samples to (views (V, n, 3, S, S) uint8, names of the unreadable files among them)."""
    return torch.stack([views for views, _ in samples], dim=1), [name for _, names in samples for name in names]


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
