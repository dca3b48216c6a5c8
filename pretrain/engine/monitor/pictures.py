"""Pictures of what training sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torchvision.transforms.functional import pad, to_pil_image
from torchvision.utils import make_grid

from pretrain.runtime.files import write_atomically


def draw_views(path: Path, views: Sequence[torch.Tensor], mixing: torch.Tensor | None = None, most: int = 8) -> Path:
    """Save a grid of the first `most` images as training sees them, a row a view, smaller views in the same cells.

    Args:
        path: of the PNG file.
        views: for each size S, uint8 (V, n, 3, S, S); the largest first.
        mixing: (K, n, n), shares of the images in each mixed one; drawn is an image's share in itself, in percent.
        most: number of images that are drawn.
    """
    side = views[0].shape[-1]
    cells = []
    for group in views:
        room = side - group.shape[-1]
        cells.append(
            pad(group[:, :most].flatten(0, 1), [room // 2, room // 2, room - room // 2, room - room // 2], 255)
        )
    columns = min(most, views[0].shape[1])
    sheet = to_pil_image(make_grid(torch.cat(cells), nrow=columns, padding=2, pad_value=255))
    if mixing is not None:
        _write_shares(sheet, mixing.diagonal(dim1=1, dim2=2)[:, :columns], side + 2)
    return write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))


def _write_shares(sheet: Image.Image, shares: torch.Tensor, cell: int) -> None:
    """Write into the corner of each cell the image's share in itself: (K, columns), from 0 to 1."""
    draw = ImageDraw.Draw(sheet)
    for view, row in enumerate(shares.tolist()):
        for column, share in enumerate(row):
            corner = (2 + column * cell, 2 + view * cell)
            text = f"{share:.0%}"
            draw.rectangle(draw.textbbox(corner, text), fill="white")
            draw.text(corner, text, fill="black")
