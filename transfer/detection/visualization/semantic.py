"""Predicted labels beside the annotated ones on images of the test split, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from pretrain.runtime.files import write_atomically
from transfer.detection.data.semantic import SemanticMapper, labels_of
from transfer.detection.visualization.instances import FONT, SIDE, TITLE, beside, colour, spread

OPACITY = 0.6
MOST_NAMES = 4


@torch.no_grad()
def draw_labels(
    cfg: CfgNode, model: nn.Module, records: Sequence[dict[str, Any]], classes: Sequence[str], count: int, out: Path
) -> list[Path]:
    """Write OUT/NAME.png for `count` images evenly spread over `records`; leaves the model in eval mode.

    Left: the class of highest score at each pixel. Right: the annotated one. Unlabelled pixels, and those of a class
    named background, are left as they are.
    """
    model.eval()
    mapper, written = SemanticMapper(cfg, False), []
    for record in spread(records, count):
        guessed = model([mapper(record)])[0]["sem_seg"].argmax(dim=0).cpu().numpy()
        with Image.open(record["file_name"]) as opened:
            image = opened.convert("RGB")
        annotated = labels_of(record["sem_seg_file_name"])
        sides = [
            _panel(image, labels, classes, words)
            for labels, words in ((guessed, "predictions"), (annotated, "ground truth"))
        ]
        target = out / f"{Path(record['file_name']).stem}.png"
        written.append(write_atomically(target, lambda path, pair=sides: beside(*pair).save(path, format="PNG")))
    return written


def _panel(image: Image.Image, labels: np.ndarray, classes: Sequence[str], words: str) -> Image.Image:
    """The image at SIDE pixels with its labels blended in, under a line that names the largest classes."""
    pixels = np.asarray(image, dtype=np.float32).copy()
    areas = np.bincount(labels.ravel(), minlength=256)[: len(classes)]
    for kind in (kind for kind in np.flatnonzero(areas) if classes[kind] != "background"):
        where = labels == kind
        pixels[where] = (1 - OPACITY) * pixels[where] + OPACITY * np.array(colour(int(kind)))
    size = tuple(round(SIDE * side / max(image.size)) for side in image.size)
    panel = Image.new("RGB", (size[0], size[1] + TITLE), "white")
    panel.paste(Image.fromarray(pixels.round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC), (0, TITLE))
    largest = [classes[kind] for kind in np.argsort(-areas)[:MOST_NAMES] if areas[kind]]
    text = f"{words}: {', '.join(largest)}"
    ImageDraw.Draw(panel).text((2, 2), text, fill="black", font=ImageFont.load_default(FONT))
    return panel
