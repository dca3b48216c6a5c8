"""Other libraries' data paths with the official recipe's parameters, as far as they are installed.

They are peers in time only: their draws and pixels are their own, and each name says how they differ from the recipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from pretrain.augment import multicrop
from pretrain.config import Views
from pretrain.models import pixels
from tools.benchmarks.reference import views as official_views

Peer = Callable[[bytes], object]  # makes all views of one image from its file's bytes


def installed(options: Views) -> dict[str, Peer]:
    """A peer for each library that can be imported, by the name of its row."""
    found = {}
    for name, make in MAKERS.values():
        try:
            found[name] = make(options)
        except ImportError:
            continue
    return found


def absent() -> str:
    """One sentence that names what is not installed, or ''."""
    there = installed(Views())
    missing = [library for library, (name, _) in MAKERS.items() if name not in there]
    return f"not installed: {', '.join(missing)}; pip install -e '.[benchmark]' adds them" if missing else ""


def _sizes(options: Views) -> list[tuple[int, int, tuple[float, float]]]:
    """(number of views, side, scale) for each size."""
    sizes = [(options.global_count, options.size, (options.min_scale, options.max_scale))]
    local = (options.local_count, options.local_size, (options.local_min_scale, options.local_max_scale))
    return [*sizes, local] if options.local_count else sizes


def _lightly(options: Views) -> Peer:
    """Its SwAV transform, the only one with a largest scale for each size of crops."""
    from lightly.transforms import SwaVTransform

    counts, sides, scales = zip(*_sizes(options), strict=True)
    transform = SwaVTransform(
        crop_sizes=sides,
        crop_counts=counts,
        crop_min_scales=[least for least, _ in scales],
        crop_max_scales=[most for _, most in scales],
        hf_prob=options.flip_probability,
        cj_prob=options.jitter_probability,
        cj_bright=options.brightness,
        cj_contrast=options.contrast,
        cj_sat=options.saturation,
        cj_hue=options.hue,
        random_gray_scale=options.gray_probability,
        gaussian_blur=options.blur_probability,
        sigmas=multicrop.BLUR_SIGMA,
    )
    return lambda data: transform(official_views.decode(data))


def _albumentations(options: Views) -> Peer:
    """Decoded by OpenCV too, as its users do."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for its newest version
    import albumentations
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(0)  # one thread, as everything here
    factors = {name: getattr(options, name) for name in ("brightness", "contrast", "saturation", "hue")}
    transforms = [
        albumentations.Compose(
            [
                albumentations.RandomResizedCrop((side, side), scale, official_views.RATIO),
                albumentations.ColorJitter(**factors, p=options.jitter_probability),
                albumentations.ToGray(p=options.gray_probability),
                albumentations.GaussianBlur(0, multicrop.BLUR_SIGMA, p=options.blur_probability),
                albumentations.HorizontalFlip(p=options.flip_probability),
                albumentations.Normalize(*pixels.IMAGENET),
                ToTensorV2(),
            ]
        )
        for count, side, scale in _sizes(options)
        for _ in range(count)
    ]

    def call(data: bytes) -> list[object]:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        return [transform(image=image)["image"] for transform in transforms]

    return call


MAKERS: dict[str, tuple[str, Callable[[Views], Peer]]] = {
    "lightly": ("lightly (Pillow; flips first)", _lightly),
    "albumentations": ("albumentations (OpenCV, other pixels)", _albumentations),
}
