"""What a worker does to one picture: the augmented views that pretraining sees, as uint8, and their normalisation."""

from __future__ import annotations

import torch
from PIL import Image, ImageFilter
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class PillowBlur(nn.Module):
    """Pillow's Gaussian blur with σ drawn from `sigma` (pixels), as in MoCo v2, SimCLR's PyTorch ports and UniGrad.

    torchvision's own blur converts every picture to a tensor and back, at several times the cost.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, image: Image.Image) -> Image.Image:
        low, high = self.sigma
        return image.filter(ImageFilter.GaussianBlur(low + (high - low) * torch.rand(()).item()))


class TwoCrop:
    """Two independent draws of the official augmentation (paper, Appendix B; official code's data loader).

    RandomResizedCrop(size, (min_scale, max_scale)), ColorJitter with probability, grayscale, blur, flip, in that order.
    Draws come from torch's global generator. Calling it with an RGB picture gives uint8 (2, 3, size, size).
    """

    count = 2

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
    ) -> None:
        jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, (min_scale, max_scale)),
                v2.RandomApply([jitter], jitter_probability),
                v2.RandomGrayscale(gray_probability),
                v2.RandomApply([PillowBlur()], blur_probability),
                v2.RandomHorizontalFlip(flip_probability),
            ]
        )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return torch.stack([vision.pil_to_tensor(self.augment(image)) for _ in range(self.count)])


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 (..., 3, H, W) to float32 with ImageNet's mean and standard deviation per channel, on images' device."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return images.float().div_(255).sub_(mean).div_(std)
