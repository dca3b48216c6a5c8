"""The loader of a run: its batches, their way to the device, the shared memory they take, how long they may take."""

from __future__ import annotations

import dataclasses
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from pretrain import config
from pretrain.augment.multicrop import NUMBERS, Batch, MultiCrop, place
from pretrain.data.loader import StepSampler, ViewDataset, collate
from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.processes import shared_memory
from pretrain.runtime.processes.signals import Wish
from pretrain.runtime.processes.watch import Patience
from pretrain.runtime.processes.workers import init_worker

PREFETCH = 4  # batches that each worker is ahead
AHEAD = 2  # batches after the next one: ranks leave together one step after the first of them wants to


def make_loader(cfg: config.Config, source: ImageSource, sampler: StepSampler, device: torch.device) -> DataLoader[Any]:
    """Batches of uint8 views, pinned where there is a GPU to copy them to, for all remaining steps.

    Args:
        cfg: the views, the number of workers and the seed.
        source: the images.
        sampler: which images each step sees.
        device: where the batches go.
    """
    views = dataclasses.asdict(cfg.views) | {"photometry": place(cfg.views.photometry, device)}
    return DataLoader(
        ViewDataset(source, MultiCrop(**views), cfg.run.seed),
        batch_sampler=sampler,
        num_workers=cfg.data.workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=init_worker,
        prefetch_factor=PREFETCH if cfg.data.workers else None,
    )


def foreseen(batches: Iterable[Batch], wish: Wish) -> Iterator[Batch]:
    """Pass batches on, each once those after it have come that the ranks still need to agree to stop.

    Where no more images can be read, as from a server that does not answer, that is a wish to stop. So all ranks leave
    after the same step, with a checkpoint, and nothing is lost but what nobody has computed.

    Raises:
        UserError: why no more come, once all that came are passed on.
    """
    source, coming = iter(batches), deque[Batch]()
    while True:
        try:
            while wish.failure is None and len(coming) <= AHEAD:
                coming.append(next(source))
        except StopIteration:
            yield from coming
            return
        except UserError as error:
            wish.failure = error
        if not coming:
            assert wish.failure is not None, "batches, or a reason why there are none"
            raise wish.failure
        yield coming.popleft()


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Pass batches on with their pixels and numbers on `device`, in their order; on a CPU as they are.

    The host is ahead of a GPU. So a batch is copied there on a stream of its own, while the GPU computes the step
    before; on the stream of the steps its copy would wait for that step to end.
    """
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's own
    computing = torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(copying):
            crops, draws = (
                None if part is None else tuple(one.to(device, non_blocking=True) for one in part)
                for part in (batch.crops, batch.draws)
            )
            labels = None if batch.labels is None else batch.labels.to(device, non_blocking=True)
        computing.wait_stream(copying)
        assert crops is not None, "a batch without views"
        for one in (*crops, *(draws or ()), *(() if labels is None else (labels,))):
            one.record_stream(computing)  # else its memory would be given to the next copy too early
        yield Batch(crops, draws, batch.unreadable, labels)


def _room(cfg: config.Config) -> int:
    """Bytes of shared memory that the workers of this rank need at most."""
    views = cfg.views
    pixels = views.global_count * views.size**2 + views.local_count * views.local_size**2
    numbers = 4 * NUMBERS * (views.global_count + views.local_count)
    images = cfg.optim.batch_size // distributed.world_size()
    return shared_memory.needed(images * (3 * pixels + numbers), cfg.data.workers, PREFETCH)


def check_room(cfg: config.Config, beside: int) -> None:
    """Refuse batches that do not fit into the shared memory of this machine, before any of its ranks takes some of it.

    Args: beside, bytes that rank 0 needs for other loaders.

    Raises:
        UserError: on every rank, with the sizes in MiB.
    """
    host = socket.gethostname()
    needs = distributed.gathered((host, _room(cfg) + (beside if distributed.rank() == 0 else 0)))
    told = shared_memory.shortage(sum(need for of, need in needs if of == host), "data.workers or optim.batch_size")
    for sentence in filter(None, distributed.gathered(told)):
        raise UserError(sentence)


def patience_of(cfg: config.Config) -> Patience:
    """How long a rank waits for its images."""
    need = shared_memory.mebibytes(_room(cfg))
    return Patience(cfg.run.timeout_minutes, cfg.data.root, "data.workers", "run.timeout_minutes", need)
