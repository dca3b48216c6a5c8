"""The cost of making the views of an image, beside the official data path, which is held to the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from pretrain.config import Views
from pretrain.data import ImageSource
from pretrain.decode import UnreadableImage, decode
from pretrain.errors import UserError
from pretrain.views import MultiCrop
from tools import official_views, timing
from tools.timing import Spread

VIEWS = {"2x224": Views(), "2x224 + 6x96": Views(local_count=6)}
HEADER = "views         | part                            | ms an image              | images/s | faster than official"
LEAST_P, MOST_MEAN, MOST_APART = 0.001, 1.0, 24


@dataclass(frozen=True)
class Cost:
    """Seconds an image. part: what is timed. ratio: of the official path's time to this one's, in rounds in pairs."""

    views: str
    part: str
    seconds: Spread
    ratio: Spread | None


def bytes_of(source: ImageSource, most: int) -> list[bytes]:
    """The first `most` readable files, in memory, so that no disk is timed.

    Raises:
        UserError: none is readable.
    """
    found: list[bytes] = []
    for place in range(len(source)):
        if len(found) == most:
            break
        try:
            data = source.packed.read(source.places[place]) if source.packed else source.paths[place].read_bytes()
            decode(data, source.paths[place])
        except (UnreadableImage, OSError):
            continue
        found.append(data)
    if not found:
        raise UserError(f"no file under {source.root} can be decoded: give a folder of images.")
    return found


def disagreement(files: list[bytes]) -> str:
    """Why no speed may be shown, or '': windows by Kolmogorov-Smirnov, pixels for the same numbers."""
    torch.manual_seed(0)
    for scale in ((0.2, 1.0), (0.05, 0.4)):
        worst = min(official_views.window_agreement((375, 500), scale, 3000).items(), key=lambda item: item[1])
        if worst[1] < LEAST_P:
            return f"the {worst[0]} of windows is not distributed as torchvision's (p = {worst[1]:.1g})"
    for index, data in enumerate(files[:20]):
        pixels = decode(data, index)
        if not np.array_equal(pixels, np.asarray(official_views.decode(data))):
            return f"image {index} does not decode to Pillow's pixels"
        options = asdict(VIEWS["2x224 + 6x96"])
        del options["photometry"]
        for mean, most in official_views.pixel_agreement(pixels, options, index):
            if mean > MOST_MEAN or most > MOST_APART:
                return f"a view of image {index} is {mean:.2f} levels from Pillow's in the mean, {most:.0f} at most"
    return ""


def measure(files: list[bytes], repeats: int) -> list[Cost]:
    """CPU time of each part, all taking turns; every call makes the views of all files, with draws of its own."""
    cpu, costs = torch.device("cpu"), []
    for name, options in VIEWS.items():
        contenders = {
            "official (torchvision v1, Pillow)": _official(files, options),
            "decode": lambda: [decode(data, "") for data in files],
            "decode, crop (photometry: device)": _ours(files, options, "device"),
            "all on the CPU (worker)": _ours(files, options, "worker"),
        }
        times = timing.take_turns(contenders, repeats, cpu)
        first = next(iter(times.values()))
        for part, taken in times.items():
            ratios = [reference / own for reference, own in zip(first, taken, strict=True)]
            seconds = timing.spread([one / len(files) for one in taken])
            costs.append(Cost(name, part, seconds, timing.spread(ratios) if taken is not first else None))
    return costs


def _official(files: list[bytes], options: Views) -> Callable[[], object]:
    transforms = official_views.pipelines(options)

    def call() -> None:
        for data in files:
            picture = official_views.decode(data)
            for transform in transforms:
                transform(picture)

    return call


def _ours(files: list[bytes], options: Views, where: str) -> Callable[[], object]:
    crop, epochs = MultiCrop(**asdict(options) | {"photometry": where}), iter(range(10**9))

    def call() -> None:
        epoch = next(epochs)
        for index, data in enumerate(files):
            crop(decode(data, index), 0, epoch, index)

    return call


def line(cost: Cost) -> str:
    """A row under HEADER."""
    rate = 1 / cost.seconds.median
    ratio = cost.ratio.text(1, 2) if cost.ratio else ""
    return f"{cost.views:13} | {cost.part:33} | {cost.seconds.text(1e3, 2):22} | {rate:8.0f} | {ratio}"
