"""CutMix as the paper uses it (Section 5.2): mixed images for the online branch, and how much of whom is in each."""

from __future__ import annotations

import torch
from torchvision.transforms import v2


def cutmix(views: torch.Tensor, alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a patch of another image of the batch onto every image, in each view with a patch of its own.

    Draws come from `seed` on the host, so nothing waits for the device and the global generator is left alone.

    Args: views (V, n, 3, H, W); alpha, of the Beta(α, α) that shares of area are drawn from.
    Returns: mixed views of the same shape, and (V, n, n), float32: row i holds the shares of the n images in mixed
        image i of that view, which sum to 1.
    """
    n = views.shape[1]
    mix, numbers = v2.CutMix(num_classes=n, alpha=alpha), torch.arange(n, device=views.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixed, shares = zip(*(mix(view, numbers) for view in views), strict=True)
    return torch.stack(mixed), torch.stack(shares)
