"""From images to rows of features: what a network gives for each image that can be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import nn
from torchvision.transforms import v2

from pretrain.augment.normalisation import normalise
from pretrain.data.sources import ImageSource
from pretrain.models.pixels import pixels_of
from pretrain.runtime.errors import UserError
from transfer.features.on_device import autocast, chosen_precision, one_behind, to_host
from transfer.features.pictures import (
    Batch,
    Pictures,
    Transform,
    batches_of,
    evaluation_transform,
    loader,
    named,
    resize_for,
    room_of,
    shown,
)
from transfer.features.rows import Features, RowFile
from transfer.options import WAIT, Common

Network = TypeVar("Network", bound=nn.Module)
Output = tuple[torch.Tensor, list[int], list[str]]  # as of outputs


def extract(
    network: nn.Module,
    source: ImageSource,
    image_size: int,
    resize: int | None,
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
        image_size, resize: sides of the centre crop and, before it, of the whole image's short side, in pixels; where
            resize is None, whole images are squashed to a square of image_size.
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
    begun = time.perf_counter()
    steps = [evaluation_transform(image_size, resize, interpolation), *([change] if change else [])]
    pictures = Pictures(source, v2.Compose(steps))
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
        samples = named(shown(samples, sum(map(len, batches)), what))
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
