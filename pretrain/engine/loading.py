"""The loader of a run: its batches, the shared memory that they take, and how long they may take to come."""

from __future__ import annotations

import socket
from typing import Any

import torch
from torch.utils.data import DataLoader

from pretrain import config
from pretrain.augment.multicrop import GLOBAL_VIEWS, NUMBERS, MultiCrop, place
from pretrain.data.loader import StepSampler, ViewDataset, collate
from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed, shared_memory
from pretrain.runtime.errors import UserError
from pretrain.runtime.watch import Patience
from pretrain.runtime.workers import init_worker

PREFETCH = 4  # batches that each worker is ahead


def make_loader(cfg: config.Config, source: ImageSource, sampler: StepSampler, device: torch.device) -> DataLoader[Any]:
    """Batches of uint8 views, pinned where there is a GPU to copy them to, for all remaining steps.

    Args:
        cfg: the views, the number of workers and the seed.
        source: the images.
        sampler: which images each step sees.
        device: where the batches go.
    """
    views = vars(cfg.views) | {"photometry": place(cfg.views.photometry, device)}
    return DataLoader(
        ViewDataset(source, MultiCrop(**views), cfg.run.seed),
        batch_sampler=sampler,
        num_workers=cfg.data.workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=init_worker,
        prefetch_factor=PREFETCH if cfg.data.workers else None,
    )


def _room(cfg: config.Config) -> int:
    """Bytes of shared memory that the workers of this rank need at most."""
    views = cfg.views
    pixels = GLOBAL_VIEWS * views.size**2 + views.local_count * views.local_size**2
    numbers = 4 * NUMBERS * (GLOBAL_VIEWS + views.local_count)
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
