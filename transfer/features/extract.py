"""From images to rows of features: the test transform, reading past corrupt files, and a frozen trunk's output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision
from tqdm import tqdm

from pretrain.augment.normalisation import normalise
from pretrain.data.decode import UnreadableImage
from pretrain.data.sources import ImageSource, read_image
from pretrain.models.pixels import pixels_of
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import say
from pretrain.runtime.processes import shared_memory
from pretrain.runtime.processes.watch import Patience, watched
from pretrain.runtime.processes.workers import init_worker
from pretrain.runtime.seeds import drawing_from
from transfer.features.on_device import autocast, chosen_precision, one_behind, to_host
from transfer.features.rows import Features, RowFile
from transfer.options import WAIT, Common

Transform = Callable[[Image.Image], Image.Image]
Network = TypeVar("Network", bound=nn.Module)
LARGEST = 2**24  # pixels of a resized picture, of which the centre is cut
PREFETCH = 2  # batches that each worker is ahead, torch's default
Sample = tuple[torch.Tensor | None, int, str | None]  # as of Pictures
Batch = tuple[torch.Tensor, torch.Tensor, list[str]]  # as of collate
Output = tuple[torch.Tensor, list[int], list[str]]  # as of outputs


def resize_for(image_size: int, resize: int = 0) -> int:
    """Short side before the centre crop: `resize`, or the field's 256/224 of `image_size` where that is 0."""
    return resize or round(image_size * 256 / 224)


def evaluation_transform(image_size: int, resize: int, interpolation: str = "bilinear") -> Transform:
    """Resize the short side, then cut the centre: Resize 256 and CenterCrop 224 for 224 px."""
    resized = v2.Resize(resize, v2.InterpolationMode(interpolation))
    transform: Transform = v2.Compose([Shortened(resize), resized, v2.CenterCrop(image_size)])
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


def extract(
    network: nn.Module,
    source: ImageSource,
    image_size: int,
    resize: int,
    batch_size: int,
    workers: int,
    device: torch.device,
    what: str | None = "features",
    change: Transform | None = None,
    minutes: float = WAIT,
    precision: str = "fp32",
    interpolation: str = "bilinear",
) -> Features:
    """Outputs of `network`, in eval mode and float32, for all of `source` under the test transform.

    Args:
        network: from (n, 3, S, S) normalised images to (n, D); it is moved to `device`, channels last, and its training
            mode is put back afterwards.
        source: labelled images.
        image_size, resize: sides of the centre crop and, before it, of the whole image's short side, in pixels.
        batch_size: images at once.
        workers: loader processes.
        device: where the network runs.
        what: named in the progress display; None shows none, and leaves it to the caller to name the skipped files.
        change: what is done to each picture after the test transform.
        minutes: how long the next batch may take to come.
        precision: of the network's forward pass, fp32 or bf16.
        interpolation: of the whole image, bilinear or bicubic.

    Raises:
        UserError: not one file of the source can be decoded, or no batch comes.
    """
    steps = [evaluation_transform(image_size, resize, interpolation), *([change] if change else [])]
    pictures = Pictures(source, v2.Compose(steps))
    return extracted(network, pictures, image_size, batch_size, workers, device, what, minutes, precision)


def extracted(
    network: nn.Module,
    pictures: Pictures,
    image_size: int,
    batch_size: int,
    workers: int,
    device: torch.device,
    what: str | None,
    minutes: float,
    precision: str,
) -> Features:
    """As `extract`, of labelled pictures whose sides are `image_size` after their transform.

    Args:
        network, image_size, batch_size, workers, device, what, minutes, precision: as of `extract`.
        pictures: what is read.
    """
    source, begun = pictures.source, time.perf_counter()
    assert source.labels is not None
    batches = batches_of(range(len(source)), batch_size)
    reading = (workers, device, what, minutes, room_of(batch_size, image_size, workers), precision)
    rows, indices, skipped = _joined(outputs(network, pictures, batches, *reading))
    if not indices:
        raise nothing_read(source, skipped[0])
    labels = torch.tensor([source.labels[index] for index in indices])
    return Features(rows, labels, names_of(source, indices), tuple(skipped), time.perf_counter() - begun)


def _joined(batches: Iterable[Output]) -> Output:
    """The outputs of all batches as those of one: rows (m, D), their images, and why the others were not read."""
    rows, indices, skipped = [], [], []
    for part, read, reasons in batches:
        rows += [part] if read else []
        indices += read
        skipped += reasons
    return torch.cat(rows) if rows else torch.empty(0), indices, skipped


def extract_with(
    common: Common,
    network: nn.Module,
    source: ImageSource,
    device: torch.device,
    what: str | None = "features",
    change: Transform | None = None,
    precision: str | None = None,
) -> Features:
    """`extract` with the crop, the batch, the workers and the precision of an evaluation's options.

    Args:
        common: those options.
        network: from (n, 3, S, S) normalised images to (n, D).
        source: labelled images.
        device: where the network runs.
        what: named in the progress display; None shows none.
        change: what is done to each picture after the test transform.
        precision: of the forward pass in place of the options', which is a frozen trunk's.
    """
    resize = resize_for(common.image_size, common.resize)
    given = (common.image_size, resize, common.batch_size, common.workers)
    precision = precision or chosen_precision(common.frozen_precision, device)
    read = (common.timeout_minutes, precision, common.interpolation)
    return extract(network, source, *given, device, what, change, *read)


def batches_of(indices: Sequence[int], batch_size: int) -> list[list[tuple[int, int]]]:
    """(epoch 0, index) of `indices` in their order, `batch_size` at a time."""
    starts = range(0, len(indices), batch_size)
    return [[(0, index) for index in indices[start : start + batch_size]] for start in starts]


def names_of(source: ImageSource, indices: Sequence[int]) -> tuple[str, ...]:
    """Keys of some images: of files, their paths relative to the source's root."""
    return tuple(source.key(index) for index in indices)


def check_finite(rows: torch.Tensor | RowFile, names: Sequence[str], where: str) -> None:
    """Refuse rows (n, D) that are not finite.

    Raises:
        UserError: counting them and naming the first image that has one.
    """
    wrong = [index for index, fine in enumerate(rows[:].isfinite().all(1).tolist()) if not fine]
    if wrong:
        raise UserError(
            f"the features of {len(wrong)} images under {where} are not finite, first those of {names[wrong[0]]}: the "
            "trunk has diverged; evaluate an earlier checkpoint."
        )


def nothing_read(source: ImageSource, reason: str) -> UserError:
    """What to raise where no file of a source can be decoded."""
    return UserError(f"no file under {source.where} can be decoded, for example {reason}.")


def outputs(
    network: nn.Module,
    pictures: Pictures,
    batches: Sequence[list[tuple[int, int]]],
    workers: int,
    device: torch.device,
    what: str | None,
    minutes: float,
    room: int,
    precision: str = "fp32",
) -> Iterator[Output]:
    """For each batch in its order: outputs (m, D), the indices of their images, and why the others were not read.

    Where m is 0 there are no outputs at all, for nothing then tells D. On a GPU a batch is handed out once the next one
    was begun, so that the GPU never waits for the host.

    Args:
        network, workers, device, what, minutes, precision: as of `extract`.
        pictures: what is read.
        batches: (epoch, index) of the images of each batch.
        room: bytes of shared memory that they take at most.
    """
    training = network.training
    network = placed(network, device).eval()
    samples: Iterable[Batch] = loader(pictures, batches, workers, device, minutes, room)
    if what:
        samples = _named(shown(samples, sum(map(len, batches)), what))
    try:
        yield from one_behind((_started(network, batch, device, precision) for batch in samples), device)
    finally:
        network.train(training)


def placed(network: Network, device: torch.device) -> Network:
    """The network itself, moved to the device and to channels last, which is faster for convolutions."""
    network.to(device)
    network.to(memory_format=torch.channels_last)
    return network


@torch.inference_mode()  # not where the network is moved: what that makes anew could never learn again
def _started(network: nn.Module, batch: Batch, device: torch.device, precision: str) -> Callable[[], Output]:
    """Begin with a batch; the returned call waits for its outputs."""
    images, indices, reasons = batch
    read = indices.tolist()
    if not read:
        return lambda: (torch.empty(0), read, reasons)
    images = normalise(images.to(device, non_blocking=True), pixels_of(network)).contiguous(
        memory_format=torch.channels_last
    )
    with autocast(precision, device):
        rows: torch.Tensor = network(images)
    arrived = to_host(rows.float())
    return lambda: (arrived(), read, reasons)


def _named(batches: Iterable[Batch]) -> Iterator[Batch]:
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
