"""What a worker does to one picture: crops as uint8, and their photometry, drawn as numbers and perhaps applied."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from pretrain.augment import color

# columns of the drawn numbers: three factors, hue's turn, the order of these four, gray, σ in pixels, flip, solarize
BRIGHTNESS, CONTRAST, SATURATION, HUE, ORDER, GRAY, SIGMA, FLIP, SOLARIZE = 0, 1, 2, 3, slice(4, 8), 8, 9, 10, 11
NUMBERS = 12
UNCHANGED = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]
BLENDS = (color.brightness, color.contrast, color.saturation)  # by their columns
AT_ONCE = 150_000  # values that operations take in hand together: more would leave a core's cache
BLUR_SIGMA = (0.1, 2.0)
PHOTOMETRY = ("auto", "worker", "device")


class Views(NamedTuple):
    """The views of one image: a crops tensor uint8 (V_s, 3, S, S) for each size, the global ones first.

    draws: (V_s, NUMBERS) float32 for each size where photometry is left to the device, else None.
    """

    crops: tuple[torch.Tensor, ...]
    draws: tuple[torch.Tensor, ...] | None


class Batch(NamedTuple):
    """The views of n images.

    crops: for each size uint8 (V_s, n, 3, S, S), the global views first. draws: (V_s, n, P) float32, the numbers of
    the photometry where it is left to the device, else None. unreadable: files that were passed over. labels: (n,)
    int64, the class of each image, -1 where it has none; no view depends on them.
    """

    crops: tuple[torch.Tensor, ...]
    draws: tuple[torch.Tensor, ...] | None
    unreadable: list[str]
    labels: torch.Tensor | None = None


class Stream:
    """Uniform numbers of [0, 1) in steps of 2^-32 from a key of whole numbers, at a tenth of the cost of `random`."""

    def __init__(self, *numbers: int) -> None:
        self.hash = hashlib.blake2b(repr(numbers).encode())
        self.left: list[int] = []

    def random(self) -> float:
        """The next number."""
        if not self.left:
            self.left = list(struct.unpack("<16I", self.hash.digest()))
            self.hash.update(b"next")
        return self.left.pop() / 2**32


def place(where: str, device: torch.device) -> str:
    """Where photometry is applied, device or worker: `auto` leaves it to a GPU and keeps a CPU's in the workers."""
    return where if where != "auto" else "device" if device.type == "cuda" else "worker"


class Photometry(NamedTuple):
    """Strengths and chances of the photometry of one view, as the options of the same names have them."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter_probability: float
    gray_probability: float
    blur_probability: float
    flip_probability: float
    solarize_probability: float = 0.0

    def draw(self, stream: Stream) -> list[float]:
        """The NUMBERS of one view; what is drawn last is what came last, so that earlier draws stay as they were."""
        numbers = list(UNCHANGED)
        if stream.random() < self.jitter_probability:
            numbers[BRIGHTNESS:HUE] = [_between(max(0.0, 1 - by), 1 + by, stream) for by in self[:HUE]]
            numbers[HUE] = _between(-self.hue, self.hue, stream)
            numbers[ORDER] = sorted(numbers[ORDER], key=lambda _: stream.random())
        numbers[GRAY] = float(stream.random() < self.gray_probability)
        if stream.random() < self.blur_probability:
            numbers[SIGMA] = _between(*BLUR_SIGMA, stream)
        numbers[FLIP] = float(stream.random() < self.flip_probability)
        numbers[SOLARIZE] = float(stream.random() < self.solarize_probability)
        return numbers

    def with_own(self, own: Mapping[str, float | None]) -> Photometry:
        """The same with the values that a view has for its own; None leaves the common one."""
        return self._replace(**{name: value for name, value in own.items() if value is not None})


class MultiCrop:
    """`global_count` global views and `local_count` local ones under the official photometry (paper, Appendix B).

    RandomResizedCrop, ColorJitter with probability, grayscale, blur, solarize, flip, in that order and with
    torchvision's distributions. photometry: `worker` applies them here, `device` only draws their numbers. first and
    second: what the first and the second global view have for their own, by the names of Photometry.

    `crop(pixels, seed, epoch, index)` takes uint8 (H, W, 3). Each view has a generator of its own, keyed by (seed,
    epoch, index, view), so it depends neither on the worker nor on how many other views there are.
    """

    def __init__(
        self,
        size: int,
        min_scale: float,
        max_scale: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        jitter_probability: float,
        gray_probability: float,
        blur_probability: float,
        flip_probability: float,
        photometry: str = "worker",
        local_count: int = 0,
        local_size: int = 96,
        local_min_scale: float = 0.05,
        local_max_scale: float = 0.4,
        solarize_probability: float = 0.0,
        global_count: int = 2,
        first: Mapping[str, float | None] = MappingProxyType({}),
        second: Mapping[str, float | None] = MappingProxyType({}),
    ) -> None:
        assert photometry in ("worker", "device"), f"photometry={photometry}: `place` turns auto into one of the two"
        self.sizes = [(global_count, size, (min_scale, max_scale))]
        self.sizes += [(local_count, local_size, (local_min_scale, local_max_scale))] if local_count else []
        chances = jitter_probability, gray_probability, blur_probability, flip_probability, solarize_probability
        self.common = Photometry(brightness, contrast, saturation, hue, *chances)
        self.own = self.common.with_own(first), self.common.with_own(second)
        self.applies = photometry == "worker"

    @torch.inference_mode()  # a fifth off the cost of small operations
    def __call__(self, pixels: np.ndarray, seed: int, epoch: int, index: int) -> Views:
        picture = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
        crops, draws, first = [], [], 0
        for count, size, scale in self.sizes:
            cut, drawn = torch.empty((count, 3, size, size), dtype=torch.uint8), []
            for view in range(count):
                stream = Stream(seed, epoch, index, first + view)
                put(crop(picture, random_window(pixels.shape[0], pixels.shape[1], scale, stream), size)[0], cut[view])
                drawn.append(self.photometry_of(first + view).draw(stream))
            crops.append(apply(cut, drawn) if self.applies else cut)
            draws.append(torch.tensor(drawn))
            first += count
        return Views(tuple(crops), None if self.applies else tuple(draws))

    def photometry_of(self, view: int) -> Photometry:
        """Of view number `view`, the global ones first."""
        return self.own[view] if view < len(self.own) else self.common


def _between(low: float, high: float, stream: Stream) -> float:
    return low + (high - low) * stream.random()


def random_window(
    height: int, width: int, scale: tuple[float, float], stream: Stream, ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> tuple[int, int, int, int]:
    """Draw the window of a random resized crop, as torchvision's RandomResizedCrop.get_params does.

    After ten windows that do not fit into the image, the largest central one with an allowed aspect is taken.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        scale: smallest and largest area as a share of the image's; drawn uniformly.
        stream: where the random numbers come from.
        ratio: smallest and largest width / height; drawn uniformly on the log scale.

    Returns: top, left, height and width of the window, in pixels.
    """
    logs = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = height * width * _between(*scale, stream)
        aspect = math.exp(_between(*logs, stream))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            top, left = (int(stream.random() * (room + 1)) for room in (height - down, width - across))
            return top, left, down, across
    across = min(width, max(1, round(height * ratio[1])))
    down = min(height, max(1, round(width / ratio[0])))
    return (height - down) // 2, (width - across) // 2, down, across


def crop(picture: torch.Tensor, window: tuple[int, int, int, int], size: int) -> torch.Tensor:
    """The window of uint8 (1, 3, H, W) resized to (1, 3, size, size): within a grey level of Pillow's BILINEAR."""
    top, left, down, across = window
    cut = picture[:, :, top : top + down, left : left + across].contiguous(memory_format=torch.channels_last)
    return functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)


def put(view: torch.Tensor, place: torch.Tensor) -> None:
    """Write whole numbers (3, S, S) over (3, S, S) of any type by planes in numpy: half the time of torch's copy."""
    for plane, channel in zip(place.numpy(), view.numpy(), strict=True):
        plane[...] = channel


def apply(views: torch.Tensor, draws: list[list[float]]) -> torch.Tensor:
    """Photometry of the views of one size, uint8 (V, 3, S, S), changed in place; V rows of NUMBERS say how.

    Views go through their operations one by one, but for the hue: it costs most, and less for all views at once.
    """
    steps = [color.hue_steps(numbers[HUE]) for numbers in draws]
    orders = [[int(operation) for operation in numbers[ORDER]] for numbers in draws]
    images = [
        _blend(image, numbers, order[: order.index(HUE)])
        for image, numbers, order in zip(views.float(), draws, orders, strict=True)
    ]
    turned = [view for view, turn in enumerate(steps) if turn]
    together = max(1, AT_ONCE // views[0].numel())
    for start in range(0, len(turned), together):
        some = turned[start : start + together]
        turns = torch.tensor([steps[view] for view in some]).view(-1, 1, 1)
        for view, image in zip(some, color.hue(torch.stack([images[view] for view in some]), turns), strict=True):
            images[view] = image
    for image, view, numbers, order in zip(images, views, draws, orders, strict=True):
        image = _blend(image, numbers, order[order.index(HUE) :])
        if numbers[GRAY]:
            image = color.luma(image)
        if numbers[SIGMA]:
            image = color.blur(image, numbers[SIGMA])
        if numbers[SOLARIZE]:
            image = color.solarize(image)
        put((image.flip(-1) if numbers[FLIP] else image).expand(view.shape), view)
    return views


def _blend(image: torch.Tensor, numbers: list[float], order: list[int]) -> torch.Tensor:
    """Brightness, contrast and saturation of one view, float (3, S, S), as far as `order` has them."""
    for operation in order:
        if operation != HUE and numbers[operation] != UNCHANGED[operation]:
            image = BLENDS[operation](image, numbers[operation])
    return image
