"""The cost of making the views of an image, beside the official data path, which is held to the same pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch

from pretrain.augment.multicrop import MultiCrop
from pretrain.config import Views
from pretrain.data.decode import UnreadableImage, decode
from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from tools.benchmarks import timing
from tools.benchmarks.measure import peers
from tools.benchmarks.reference import views as official_views
from tools.benchmarks.timing import Spread

VIEWS = {"2x224": Views(), "2x224 + 6x96": Views(local_count=6)}
HEADER = f"{'views':13} | {'part':37} | {'ms an image':22} | images/s | faster than official"


@dataclass(frozen=True)
class Cost:
    """Seconds an image. part: what is timed. ratio: of the official path's time to this one's, in rounds in pairs."""

    views: str
    part: str
    seconds: Spread
    ratio: Spread | None


def encoded(source: ImageSource, place: int) -> bytes:
    """The bytes of one image's file, or of its part of a packed set."""
    return source.read_bytes(place)


def readable(source: ImageSource, most: int) -> ImageSource:
    """The first `most` images of `source` that can be decoded.

    Raises:
        UserError: none can.
    """
    found: list[int] = []
    for place in range(len(source)):
        if len(found) == most:
            break
        with contextlib.suppress(UnreadableImage):
            source.read_pixels(place)
            found.append(place)
    if not found:
        raise UserError(f"no file under {source.root} can be decoded: give a folder of images.")
    return source.select(found)


def bytes_of(source: ImageSource, most: int) -> list[bytes]:
    """The first `most` readable files, in memory, so that no disk is timed.

    Raises:
        UserError: none is readable.
    """
    found = readable(source, most)
    return [encoded(found, place) for place in range(len(found))]


def measure(files: list[bytes], repeats: int) -> list[Cost]:
    """CPU time of each part, all taking turns; every call makes the views of all files, with draws of its own."""
    cpu, costs = torch.device("cpu"), []
    for name, options in VIEWS.items():
        contenders: dict[str, Callable[[], object]] = {
            "official (torchvision v1, Pillow)": _official(files, options),
            "decode": lambda: [decode(data, "") for data in files],
            "decode, crop (photometry: device)": _ours(files, options, "device"),
            "all on the CPU (worker)": _ours(files, options, "worker"),
        }
        for peer, make in peers.installed(options).items():
            contenders[peer] = partial(_each, make, files)
        times = timing.take_turns(contenders, repeats, cpu)
        first = next(iter(times.values()))
        for part, taken in times.items():
            seconds = timing.spread([one / len(files) for one in taken])
            costs.append(Cost(name, part, seconds, timing.faster(first, taken) if taken is not first else None))
    return costs


def _each(make: Callable[[bytes], object], files: list[bytes]) -> None:
    for data in files:
        make(data)


def _official(files: list[bytes], options: Views) -> Callable[[], object]:
    transforms = official_views.pipelines(options)

    def call() -> None:
        """Decode every file once and make its views as the official loader does."""
        for data in files:
            picture = official_views.decode(data)
            for transform in transforms:
                transform(picture)

    return call


def _ours(files: list[bytes], options: Views, where: str) -> Callable[[], object]:
    crop, epochs = MultiCrop(**asdict(options) | {"photometry": where}), iter(range(10**9))

    def call() -> None:
        """Decode every file once and make its views, each time with the draws of the next epoch."""
        epoch = next(epochs)
        for index, data in enumerate(files):
            crop(decode(data, index), 0, epoch, index)

    return call


def line(cost: Cost) -> str:
    """A row under HEADER."""
    rate = 1 / cost.seconds.median
    ratio = cost.ratio.text(1, 2) if cost.ratio else ""
    return f"{cost.views:13} | {cost.part:37} | {cost.seconds.text(1e3, 2):22} | {rate:8.0f} | {ratio}"
