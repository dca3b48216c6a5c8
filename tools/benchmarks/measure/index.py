"""Listing a large folder of images, the first time, later, and by torchvision: each in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.benchmarks.timing import Spread, spread

CLASSES = 1000
ROLLUP = Path("/proc/self/smaps_rollup")
PRIVATE, PSS = "Private_Dirty:", "Pss:"  # shared with no other process and no file; what is shared counts in part
SETTLE = 3.0  # seconds after which a listing of a new folder is kept
HEADER = f"{'listed by':34}{'seconds':>26}{'CPU seconds':>14}{'bytes an image: rank':>22}{'worker':>8}{'both':>8}"


@dataclass(frozen=True)
class Cost:
    """Of one way to list N images.

    seconds: until every image can be read, by the clock on the wall. cpu: seconds of CPU time, the median. rank,
    worker: bytes of private memory an image that each has made its own, after both have asked for every name and label
    in the order of an epoch. both: of their memory together, in which what they share with each other counts once and
    what they share with others in part (PSS). None where the system is silent.
    """

    who: str
    seconds: Spread
    cpu: float
    rank: float | None
    worker: float | None
    both: float | None


def line(cost: Cost) -> str:
    """A row under HEADER."""
    held = ["?" if one is None else f"{one:.0f}" for one in (cost.rank, cost.worker, cost.both)]
    return f"{cost.who:34}{cost.seconds.text(1, 2):>26}{cost.cpu:>14.2f}{held[0]:>22}{held[1]:>8}{held[2]:>8}"


def generate(root: Path, images: int) -> None:
    """Empty files, as many as `images`, in CLASSES class folders: only their names are asked for."""
    for label in range(min(CLASSES, images)):
        folder = root / f"n{label:08d}"
        folder.mkdir(parents=True)
        for number in range(label, images, CLASSES):
            os.close(os.open(folder / f"n{label:08d}_{number}.JPEG", os.O_CREAT | os.O_WRONLY))


def ours(root: str, cache: str) -> Any:
    """Our own listing."""
    from pretrain.data.sources import Reading, open_source

    source = open_source(root, reading=Reading(index_cache=cache))
    return len(source), lambda at: (source.paths[at], source.label(at))


def torchvisions(root: str, _: str) -> Any:
    """torchvision's ImageFolder, whose endings are fewer."""
    from torchvision.datasets import ImageFolder

    found = ImageFolder(root)
    return len(found), lambda at: found.samples[at]


def measure(root: Path, repeats: int) -> Iterator[Cost]:
    """The cost of each way, all in turns.

    Args: root, class folders. repeats, rounds.
    """
    with tempfile.TemporaryDirectory() as cache:
        told: dict[str, list[tuple[float, ...]]] = {}
        for number in range(repeats):
            kept = os.path.join(cache, str(number))
            for who, way in (
                ("here, first", ours),
                ("here, a later start", ours),
                ("torchvision.ImageFolder", torchvisions),
            ):
                told.setdefault(who, []).append(_alone(way, str(root), kept))
    for who, rounds in told.items():
        seconds, cpu, *memory = (np.asarray(one) for one in zip(*rounds, strict=True))
        held = [None if np.isnan(one).any() else float(np.median(one)) for one in memory]
        yield Cost(who, spread(seconds.tolist()), float(np.median(cpu)), *held)


def _alone(way: Callable[[str, str], Any], root: str, cache: str) -> tuple[float, ...]:
    """Seconds, CPU seconds and bytes an image, of one listing in a process that has imported all and listed nothing."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_list, args=(way, root, cache, theirs))
    child.start()
    theirs.close()
    try:
        told: tuple[float, ...] = ours.recv()
    finally:
        child.join()
    return told


def _list(way: Callable[[str, str], Any], root: str, cache: str, to: Any) -> None:
    with tempfile.TemporaryDirectory() as empty:
        generate(Path(empty), 2)
        way(empty, empty)  # imports
    alone = sum(_with_worker(lambda: None, PSS))
    before, begun, cpu = _memory(PRIVATE), time.perf_counter(), time.process_time()
    count, read = way(root, cache)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu

    def epoch() -> None:
        for at in np.random.default_rng(0).permutation(np.arange(count, dtype=np.int32)):
            read(int(at))

    epoch()
    rank = (_memory(PRIVATE) - before) / count
    worker = (_with_worker(epoch, PRIVATE)[1] - _with_worker(lambda: None, PRIVATE)[1]) / count
    to.send((seconds, cpu, rank, worker, (sum(_with_worker(epoch, PSS)) - alone) / count))


def _with_worker(work: Callable[[], None], what: str) -> tuple[float, float]:
    """Bytes of this process and of one that is forked from it, once that has done some work and while both live."""
    mine, theirs = multiprocessing.Pipe()
    if not (child := os.fork()):
        work()
        theirs.send(_memory(what))
        theirs.recv()
        os._exit(0)
    told: float = mine.recv()
    here = _memory(what)
    mine.send(None)
    os.waitpid(child, 0)
    return here, told


def _memory(what: str) -> float:
    """Bytes of this process of one kind; not a number where the system is silent."""
    gc.collect()
    if not ROLLUP.exists():
        return float("nan")
    return 1024.0 * sum(int(one.split()[1]) for one in ROLLUP.read_text().splitlines() if one.startswith(what))


def wait_until_settled(newest: Sequence[float]) -> None:
    """Wait until a new folder is old enough for its listing to be kept. Args: newest, times of change, in seconds."""
    time.sleep(max(0.0, max(newest, default=0.0) + SETTLE - time.time()))
