"""From images to batches: the test transform, reading past corrupt files and naming them, and the progress display."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision
from tqdm import tqdm

from pretrain.data.decode import UnreadableImage
from pretrain.data.sources import ImageSource, read_image
from pretrain.runtime import distributed
from pretrain.runtime.printable import say
from pretrain.runtime.processes import shared_memory
from pretrain.runtime.processes.watch import Patience, watched
from pretrain.runtime.processes.workers import init_worker
from pretrain.runtime.seeds import drawing_from

Transform = Callable[[Image.Image], Image.Image]
LARGEST = 2**24  # pixels of a resized picture, of which the centre is cut
PREFETCH = 2  # batches that each worker is ahead, torch's default
Sample = tuple[torch.Tensor | None, int, str | None]  # as of Pictures
Batch = tuple[torch.Tensor, torch.Tensor, list[str]]  # as of collate


def resize_for(image_size: int, resize: int = 0) -> int:
    """Short side before the centre crop: `resize`, or the field's 256/224 of `image_size` where that is 0."""
    return resize or round(image_size * 256 / 224)


def evaluation_transform(image_size: int, resize: int | None, interpolation: str = "bilinear") -> Transform:
    """Resize the short side, then cut the centre: Resize 256 and CenterCrop 224 for 224 px.

    Where `resize` is None, squash the whole image to a square instead, so that no pixel is cut off.
    """
    mode = v2.InterpolationMode(interpolation)
    if resize is None:
        squashed: Transform = v2.Resize((image_size, image_size), mode)
        return squashed
    transform: Transform = v2.Compose([Shortened(resize), v2.Resize(resize, mode), v2.CenterCrop(image_size)])
    return transform


@dataclass(frozen=True)
class Shortened:
    """Cut both ends off a picture so long that it would fill the memory once its short side is `resize`.

    A centre crop never sees those ends; four short sides stay, and the middle stays where it was.
    """

    resize: int

    def __call__(self, image: Image.Image) -> Image.Image:
        short, long = sorted(image.size)
        kept = 4 * short + long % 2
        if kept >= long or long * self.resize**2 <= LARGEST * short:
            return image
        start = (long - kept) // 2
        wide = image.width == long
        return image.crop((start, 0, start + kept, short) if wide else (0, start, short, start + kept))


class Pictures(Dataset[Sample]):
    """`pictures[epoch, index] -> (uint8 (3, S, S) or None, index, why it could not be read or None)`.

    Random transforms are keyed by (seed, epoch, index), so they depend neither on the worker nor on the batch.
    """

    def __init__(self, source: ImageSource, transform: Transform, seed: int = 0) -> None:
        self.source, self.transform, self.seed = source, transform, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        try:
            image = read_image(self.source, index)
        except UnreadableImage as error:
            return None, index, str(error)
        with drawing_from(hash((self.seed, epoch, index))):
            return vision.pil_to_tensor(self.transform(image)), index, None


def collate(samples: Sequence[Sample]) -> Batch:
    """The m readable of n samples: uint8 (m, 3, S, S), their indices (m,), and why the others could not be read."""
    read = [(image, index) for image, index, _ in samples if image is not None]
    images = torch.stack([image for image, _ in read]) if read else torch.empty(0, dtype=torch.uint8)
    reasons = [reason for _, _, reason in samples if reason is not None]
    return images, torch.tensor([index for _, index in read], dtype=torch.int64), reasons


def room_of(batch_size: int, image_size: int, workers: int) -> int:
    """Bytes of shared memory that a loader of such batches needs at most."""
    return shared_memory.needed(3 * batch_size * image_size**2, workers, PREFETCH)


def loader(
    pictures: Pictures,
    batches: Iterable[list[tuple[int, int]]],
    workers: int,
    device: torch.device,
    minutes: float,
    room: int,
) -> Iterator[Batch]:
    """Batches of `pictures` in the order of `batches`, read once by `workers` processes with one thread each.

    Args:
        pictures: the decoded and transformed images.
        batches: for each batch, what `pictures` is indexed with.
        workers: loader processes.
        device: where the batches go next; memory is pinned for a GPU.
        minutes: how long a batch may take.
        room: bytes of shared memory that its batches take at most.

    Raises:
        UserError: the shared memory is too small, a batch does not come in time, or a worker dies.
    """
    shared_memory.check_room(room, "workers or batch_size")
    where = pictures.source.where
    patience = Patience(minutes, where, "workers", "timeout_minutes", shared_memory.mebibytes(room))
    images: DataLoader[Any] = DataLoader(  # typed by its samples, where it gives what `collate` makes of them
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=init_worker,
        prefetch_factor=PREFETCH if workers else None,
    )
    return watched(images, patience)


def batches_of(indices: Sequence[int], batch_size: int) -> list[list[tuple[int, int]]]:
    """(epoch 0, index) of `indices` in their order, `batch_size` at a time."""
    starts = range(0, len(indices), batch_size)
    return [[(0, index) for index in indices[start : start + batch_size]] for start in starts]


def named(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Pass `batches` on, naming files that could not be read as they turn up."""
    for batch in batches:
        name_unreadable(batch[2])
        yield batch


def name_unreadable(reasons: Iterable[str]) -> None:
    """Name files that are skipped because they cannot be decoded; the caller counts them."""
    for reason in reasons:
        tqdm.write(f"skipped an unreadable image: {reason}", file=sys.stderr)


def shown(batches: Iterable[Batch], images: int, what: str) -> Iterator[Batch]:
    """Pass `batches` on with a progress bar on a terminal, else a line every 30 seconds, and one at the end.

    Of several processes the first alone tells, and of its own share.
    """
    if distributed.rank() > 0:
        yield from batches
        return
    done, begun = 0, time.perf_counter()
    told = begun
    with tqdm(total=images, desc=what, unit="image", disable=not sys.stderr.isatty()) as bar:
        for batch in batches:
            yield batch
            count = len(batch[1]) + len(batch[2])
            done += count
            bar.update(count)
            now = time.perf_counter()
            if done < images and now - told > 30 and bar.disable:
                say(f"{what}: {done} of {images} images, {done / (now - begun):.0f} images/s")
                told = now
    say(f"{what}: {done} images, {done / (time.perf_counter() - begun):.0f} images/s")
