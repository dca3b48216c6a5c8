"""Views equal the official recipe, written with torchvision's first transforms, draw for draw."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter
from test_data import VIEWS
from torchvision import transforms as v1

from pretrain.views import MEAN, STD, TwoCrop, normalise


def official(size: int) -> v1.Compose:
    """The official code's pipeline; only the blur's σ comes from torch's generator instead of `random`."""

    def blur(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(0.1 + 1.9 * torch.rand(()).item()))

    return v1.Compose(
        [
            v1.RandomResizedCrop(size, scale=(0.2, 1.0)),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v1.RandomGrayscale(p=0.2),
            v1.RandomApply([v1.Lambda(blur)], p=0.5),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize(MEAN, STD),
        ]
    )


def test_views_equal_the_official_pipeline_for_the_same_draws():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((200, 160), Image.Resampling.BICUBIC)
    ours, theirs = TwoCrop(**(VIEWS | {"size": 48})), official(48)
    for seed in range(40):
        torch.manual_seed(seed)
        got = normalise(ours(image))
        torch.manual_seed(seed)
        expected = torch.stack([theirs(image) for _ in range(2)])
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5, msg=f"seed {seed}")
