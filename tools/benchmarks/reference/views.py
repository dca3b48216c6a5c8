"""The official data path re-written: torchvision's first transforms on Pillow's pictures; and what holds ours to it."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as v1
from torchvision.transforms import functional as official

from pretrain.augment import multicrop
from pretrain.config import Views
from pretrain.models import pixels

RATIO = (3 / 4, 4 / 3)


def decode(data: bytes) -> Image.Image:
    """As ImageFolder's loader does."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def pipelines(options: Views) -> list[v1.Compose]:
    """One transform a view, from a picture to a normalised float tensor, as the official code's loader has it."""
    sizes = [(options.size, (options.min_scale, options.max_scale))] * options.global_count
    sizes += [(options.local_size, (options.local_min_scale, options.local_max_scale))] * options.local_count
    jitter = v1.ColorJitter(options.brightness, options.contrast, options.saturation, options.hue)
    return [
        v1.Compose(
            [
                v1.RandomResizedCrop(size, scale),
                v1.RandomApply([jitter], options.jitter_probability),
                v1.RandomGrayscale(options.gray_probability),
                v1.RandomApply([v1.Lambda(_blur)], options.blur_probability),
                v1.RandomHorizontalFlip(options.flip_probability),
                v1.ToTensor(),
                v1.Normalize(*pixels.IMAGENET),
            ]
        )
        for size, scale in sizes
    ]


def _blur(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(*multicrop.BLUR_SIGMA)))


def photometry(view: torch.Tensor, numbers: list[float]) -> torch.Tensor:
    """The official operations on one view, uint8 (3, S, S), under the numbers of pretrain/augment/multicrop.py."""
    picture = official.to_pil_image(view)
    steps = (official.adjust_brightness, official.adjust_contrast, official.adjust_saturation, official.adjust_hue)
    for place in map(int, numbers[multicrop.ORDER]):
        if numbers[place] != multicrop.UNCHANGED[place]:
            picture = steps[place](picture, numbers[place])
    picture = official.to_grayscale(picture, 3) if numbers[multicrop.GRAY] else picture
    if numbers[multicrop.SIGMA]:
        picture = picture.filter(ImageFilter.GaussianBlur(numbers[multicrop.SIGMA]))
    picture = official.solarize(picture, 128) if numbers[multicrop.SOLARIZE] else picture
    finished: torch.Tensor = official.pil_to_tensor(official.hflip(picture) if numbers[multicrop.FLIP] else picture)
    return finished


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """p of two samples' largest distance between distribution functions (asymptotic; Numerical Recipes 14.3.18)."""
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    shares = (np.searchsorted(sample, both, side="right") / len(sample) for sample in (first, second))
    distance = np.abs(np.subtract(*shares)).max()
    size = len(first) * len(second) / (len(first) + len(second))
    rate = (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size)) * distance
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * rate) ** 2) for k in range(1, 101))
    return 1.0 if rate < 0.2 else min(1.0, series)


def window_agreement(shape: tuple[int, int], scale: tuple[float, float], draws: int) -> dict[str, float]:
    """p of the Kolmogorov-Smirnov test between torchvision's windows and ours, for each of their measures."""
    blank = torch.empty(3, *shape)
    theirs = np.array([v1.RandomResizedCrop.get_params(blank, scale, RATIO) for _ in range(draws)])
    ours = np.array([multicrop.random_window(*shape, scale, multicrop.Stream(0, 0, draw, 0)) for draw in range(draws)])
    measures = {"top": (1, 0, 0, 0), "left": (0, 1, 0, 0), "height": (0, 0, 1, 0), "width": (0, 0, 0, 1)}
    measures |= {"area": (0, 0, 1, 1), "aspect": (0, 0, -1, 1)}
    found = {}
    for name, powers in measures.items():
        samples = (np.prod(np.power(windows.astype(float), powers), axis=1) for windows in (ours, theirs))
        found[name] = kolmogorov_smirnov(*samples)
    return found


def pixel_agreement(pixels: np.ndarray, options: dict[str, Any], index: int) -> list[tuple[float, float]]:
    """(mean, largest) difference in grey levels of each view to Pillow's crop and photometry for the same numbers."""
    makers = (multicrop.MultiCrop(**options, photometry=where) for where in ("device", "worker"))
    plain, finished = (make(pixels, 0, 0, index) for make in makers)
    assert plain.draws is not None, "photometry is left to the device"
    found = []
    for crops, draws, ours in zip(plain.crops, plain.draws, finished.crops, strict=True):
        for crop, numbers, view in zip(crops, draws.tolist(), ours, strict=True):
            apart = (view.int() - photometry(crop, numbers).int()).abs().float()
            found.append((apart.mean().item(), apart.max().item()))
    return found
