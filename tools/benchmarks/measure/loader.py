"""Images a second of the whole loader, worker processes and collating included, beside the official loader.

Several processes share the work, so only the clock on the wall says how fast a loader is, and other load slows it. What
load does not touch is printed beside it: the CPU time of workers and main process together. Every timing is one pass
over the same batches, from starting the workers to their end; workers of one contender never run beside another's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from pretrain.config import Views
from pretrain.data.loader import StepSampler
from pretrain.data.sources import ImageSource
from pretrain.engine import loading
from pretrain.runtime.processes.watch import Patience, watched
from tools.benchmarks import timing
from tools.benchmarks.measure.data import encoded
from tools.benchmarks.measure.step import Size
from tools.benchmarks.reference import views
from tools.benchmarks.timing import Spread

GPU_TAKES = 1300  # images/s that one GPU is to train with
PATIENCE = 30.0  # minutes that a batch may take


@dataclass(frozen=True)
class Cost:
    """Of a loader with that many workers: seconds an image on the wall, and of CPU time in all processes together.

    ratio: of the official loader's time on the wall to this one's, in rounds in pairs.
    """

    loader: str
    workers: int
    seconds: Spread
    cpu: Spread
    ratio: Spread | None

    @property
    def cores(self) -> float:
        """How many cores feed one GPU."""
        return GPU_TAKES * self.cpu.median


class OfficialViews(Dataset[list[torch.Tensor]]):
    """The official pipelines as a dataset of lists of normalised float views, for the keys of our sampler."""

    def __init__(self, source: ImageSource, options: Views) -> None:
        self.source, self.transforms = source, views.pipelines(options)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> list[torch.Tensor]:
        picture = views.decode(encoded(self.source, place[1]))
        return [transform(picture) for transform in self.transforms]


def worker_counts() -> list[int]:
    """1, 2, 4, ... up to the cores of this process, and these."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [2**power for power in range(cores.bit_length()) if 2**power < cores] + [cores]


def measure(source: ImageSource, size: Size, images: int, workers: list[int], repeats: int) -> Iterator[Cost]:
    """Costs of our loader, photometry left to the device or done in the workers, and of the official one.

    Args:
        source: images, all of them readable.
        size: of the batch and its views.
        images: number of images of one pass for each worker; repeated where the source has fewer.
        workers: the numbers of worker processes that are measured.
        repeats: passes of each loader.

    Raises:
        UserError: fewer images than a batch.
    """
    for count in workers:
        steps = max(1, images * count // size.batch)
        sampler = StepSampler(len(source), size.batch, steps / max(1, len(source) // size.batch), seed=0)
        loaders = {"official (normalised float views)": _official(source, size, sampler, count)}
        for where in ("device", "worker"):
            cfg = size.config(f"data.workers={count}", f"views.photometry={where}")
            loaders[f"ours, photometry: {where}"] = loading.make_loader(cfg, source, sampler, torch.device("cpu"))
        yield from _costs(loaders, steps * size.batch, repeats)


def _costs(loaders: dict[str, DataLoader[Any]], images: int, repeats: int) -> Iterator[Cost]:
    """Of loaders with the same number of workers, which take turns at a pass over so many images."""
    spent: dict[str, list[float]] = {name: [] for name in loaders}

    def drain(name: str) -> None:
        spent[name].append(_drain(loaders[name]))

    passes = {name: partial(drain, name) for name in loaders}
    times = timing.take_turns(passes, repeats, torch.device("cpu"), timing.wall_seconds)
    first = next(iter(times.values()))
    for name, taken in times.items():
        seconds, cpu = (timing.spread([one / images for one in each]) for each in (taken, spent[name]))
        ratio = timing.faster(first, taken) if taken is not first else None
        yield Cost(name, loaders[name].num_workers, seconds, cpu, ratio)


def _official(source: ImageSource, size: Size, sampler: StepSampler, workers: int) -> DataLoader[Any]:
    return DataLoader(OfficialViews(source, size.config().views), batch_sampler=sampler, num_workers=workers)


def _drain(loader: DataLoader[Any]) -> float:
    """One pass; the CPU seconds of this process and of its workers, which are over with the pass."""
    before = sum(os.times()[:4])
    for _ in watched(loader, Patience(PATIENCE, "the images", "--workers")):
        pass
    return sum(os.times()[:4]) - before


HEADER = (
    f"workers | {'loader':33} | images/s | {'ms an image':22} | {'faster than official':20} | {'CPU ms an image':22} | "
    "cores a GPU"
)


def line(cost: Cost) -> str:
    """A row under HEADER; the last column is for GPU_TAKES images/s."""
    ratio = cost.ratio.text(1, 2) if cost.ratio else ""
    return (
        f"{cost.workers:7} | {cost.loader:33} | {1 / cost.seconds.median:8.1f} | {cost.seconds.text(1e3, 2):22} | "
        f"{ratio:20} | {cost.cpu.text(1e3, 2):22} | {cost.cores:.1f}"
    )
