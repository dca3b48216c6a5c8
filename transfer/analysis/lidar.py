"""LiDAR (Thilak et al., ICLR 2024): the rank of what tells images apart, beside what only tells their views apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from pretrain.augment.multicrop import MultiCrop

VIEWS = 10  # of an image; the paper draws 50
DELTA, EPSILON = 1e-4, 1e-7  # the paper's: added to the diagonal within, and to each share


def lidar(rows: torch.Tensor) -> float:
    """exp of the entropy of the shares of λ, 1 to D, with λ the eigenvalues of Σw^-½ Σb Σw^-½, of rows (n, q, D).

    Σb is the covariance of the images' mean rows, Σw that of the q views of an image around their mean, plus δ on its
    diagonal (Eq. 1 to 4). All in float64. Equal eigenvalues are those of Σb v = λ Σw v.
    """
    import torch

    rows = rows.double()
    means = rows.mean(1)
    n, q, width = rows.shape
    centred, within = means - means.mean(0), (rows - means[:, None]).flatten(0, 1)
    between = centred.T @ centred / (n - 1)
    sigma = within.T @ within / (n * (q - 1)) + DELTA * torch.eye(width, dtype=rows.dtype, device=rows.device)
    values, vectors = torch.linalg.eigh(sigma)
    whitening = vectors * values.rsqrt()
    shares = torch.linalg.eigvalsh(whitening.T @ between @ whitening).clamp_min(0)
    shares = shares / shares.sum().clamp_min(torch.finfo(torch.float64).tiny) + EPSILON
    return float(torch.special.entr(shares).sum().exp())


class View:
    """A view under the official augmentation of a picture, drawn from torch's random state; it goes to workers."""

    @cached_property
    def _views(self) -> dict[int, MultiCrop]:
        return {}

    def __call__(self, picture: Image.Image) -> Image.Image:
        import numpy as np
        import torch
        from PIL import Image

        from pretrain.augment.multicrop import MultiCrop
        from pretrain.augment.options import Views

        if picture.width not in self._views:
            official = {name: value for name, value in vars(Views()).items() if name not in ("first", "second")}
            own = {"size": picture.width, "photometry": "worker", "local_count": 0}
            self._views[picture.width] = MultiCrop(**official | own)
        seed = int(torch.randint(2**62, ()))
        crops = self._views[picture.width](np.array(picture), seed, 0, 0).crops
        return Image.fromarray(crops[0][0].permute(1, 2, 0).numpy())


def rank_share(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """LiDAR of at most `images` val images as a share of the features' width in percent, as every metric here is."""
    from transfer.datasets.labelled import thinned

    source = thinned(frozen.data.val, frozen.images)
    found = frozen.changed(source.select([index for index in range(len(source)) for _ in range(VIEWS)]), View())
    n, width = len(found.rows) // VIEWS, found.rows.shape[1]  # of an unreadable image no view is there
    value = lidar(found.rows[:].to(frozen.device).view(n, VIEWS, width)) if n > 1 else math.nan
    yield f"LiDAR, {n} images x {VIEWS} views, % of {width}", 100 * value / width


READING = Reading(
    "lidar",
    "LiDAR: effective rank of what tells images apart, as a share of the width",
    rank_share,
    least_images=2,
    order=42,
)
