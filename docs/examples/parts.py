"""What the four loops share: the two branches, and batches of two views of each image."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.transforms import v2

WIDTH = 128  # C, channels of a row


class Branches(nn.Module):
    """An online branch that learns, and a target branch that follows it; each a trunk with a projector."""

    def __init__(self, arch: str = "resnet18") -> None:
        super().__init__()
        trunk = torchvision.models.get_model(arch)
        channels, trunk.fc = trunk.fc.in_features, nn.Identity()
        head = nn.Sequential(nn.Linear(channels, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, WIDTH))
        self.online = nn.Sequential(trunk, head)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views (2, n, 3, S, S) to online rows with gradients and target rows without, each (2, n, C) of length 1."""
        with torch.no_grad():
            targets = torch.stack([self.target(view) for view in views])
        online = torch.stack([self.online(view) for view in views])
        return functional.normalize(online, dim=-1), functional.normalize(targets, dim=-1)

    @torch.no_grad()
    def follow(self, momentum: float = 0.99) -> None:
        """One step of the target's moving average."""
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.lerp_(online, 1 - momentum)


def photometry(size: int) -> v2.Compose:
    """A random view of an image: a crop of `size` pixels, turned round or not, in other colours."""
    colours = v2.ColorJitter(0.4, 0.4, 0.2, 0.1)
    steps = [v2.RandomResizedCrop(size, scale=(0.2, 1.0), antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.RandomApply([colours], 0.8), v2.RandomGrayscale(0.2), v2.ToImage()]
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])


def batches(folder: str | Path, size: int = 32, batch: int = 64) -> Iterator[torch.Tensor]:
    """Views (2, n, 3, S, S) without end, from images in class folders, whose classes are not looked at."""
    view = photometry(size)
    images = torchvision.datasets.ImageFolder(str(folder), lambda image: torch.stack([view(image), view(image)]))
    loader = torch.utils.data.DataLoader(images, min(batch, len(images)), shuffle=True, drop_last=True)
    while True:
        for views, _ in loader:
            yield views.transpose(0, 1)
