"""CutMix as the paper uses it (Section 5.2): mixed images for the online branch, and their shares of area."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from pretrain.runtime.seeds import drawing_from


def cutmix(views: torch.Tensor, alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a patch of another image of the batch onto every image; each view draws its own patches.

    The host draws from `seed`, so nothing waits for the device. The global generator keeps its state.

    Args:
        views: (V, n, 3, H, W).
        alpha: α of the Beta(α, α) that the shares of area are drawn from.
        seed: of the draws.

    Returns: mixed views of the same shape, and the mixing matrices (V, n, n) in float32. Row i holds the shares of the
        n images in mixed image i, which sum to 1.
    """
    n = views.shape[1]
    mix, numbers = v2.CutMix(num_classes=n, alpha=alpha), torch.arange(n, device=views.device)
    with drawing_from(seed):
        mixed, shares = zip(*(mix(view, numbers) for view in views), strict=True)
    return torch.stack(mixed), torch.stack(shares)
