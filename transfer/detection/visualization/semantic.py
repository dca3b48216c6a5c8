"""Predicted labels next to the annotated ones on images of the test split, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import read_image
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from pretrain.runtime.files import write_atomically
from pretrain.runtime.printable import printable
from transfer.annotations.labels import label_image
from transfer.detection.data.mapper import SemanticMapper
from transfer.detection.data.records import Record
from transfer.detection.visualization.instances import (
    FONT,
    SIDE,
    TITLE,
    class_colour,
    evenly_spread,
    picture_path,
    side_by_side,
)

OPACITY = 0.6
MOST_NAMES = 4


@torch.no_grad()
def draw_labels(
    cfg: CfgNode, model: nn.Module, records: Sequence[Record], classes: Sequence[str], count: int, out: Path
) -> list[Path]:
    """Write OUT/NAME.png for `count` images evenly spread over `records`; leaves the model in eval mode.

    Left: the class of highest score at each pixel. Right: the annotated one. Unlabelled pixels, and those of a class
    named background, are left as they are.

    Args:
        cfg: the configuration of the model.
        model: a segmenter.
        records: of a split.
        classes: names in the order of the labels.
        count: how many images to draw.
        out: folder.
    """
    model.eval()
    mapper, written = SemanticMapper(cfg, False), list[Path]()
    for record in evenly_spread(records, count):
        guessed = model([mapper(record)])[0]["sem_seg"].argmax(dim=0).cpu().numpy()
        image = Image.fromarray(read_image(record["file_name"], "RGB"))
        annotated = label_image(record["sem_seg_file_name"])
        sides = [
            _panel(image, labels, classes, words)
            for labels, words in ((guessed, "predictions"), (annotated, "ground truth"))
        ]
        target = picture_path(out, record, written)
        written.append(write_atomically(target, partial(side_by_side(*sides).save, format="PNG")))
    return written


def _panel(image: Image.Image, labels: np.ndarray, classes: Sequence[str], words: str) -> Image.Image:
    """The image at SIDE pixels with its labels blended in, under a line that names the largest classes."""
    pixels = np.asarray(image, dtype=np.float32).copy()
    areas = np.bincount(labels.ravel(), minlength=256)[: len(classes)]
    for kind in (kind for kind, area in enumerate(areas) if area and classes[kind] != "background"):
        where = labels == kind
        pixels[where] = (1 - OPACITY) * pixels[where] + OPACITY * np.array(class_colour(kind))
    longest = max(image.size)
    size = (round(SIDE * image.width / longest), round(SIDE * image.height / longest))
    panel = Image.new("RGB", (size[0], size[1] + TITLE), "white")
    panel.paste(Image.fromarray(pixels.round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC), (0, TITLE))
    largest = [printable(classes[int(kind)]) for kind in np.argsort(-areas)[:MOST_NAMES] if areas[kind]]
    text = f"{words}: {', '.join(largest)}"
    ImageDraw.Draw(panel).text((2, 2), text, fill="black", font=ImageFont.load_default(FONT))
    return panel
