"""Predictions next to the ground truth on images of the test split, as PNG files."""

from __future__ import annotations

import colorsys
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode, Instances
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import nn

from pretrain.runtime.files import write_atomically
from pretrain.runtime.printable import printable
from transfer.annotations.masks import pixels_of
from transfer.detection.data.records import Record, objects_of, size_of

SIDE = 480  # longest side of each panel in pixels: small pictures are enlarged so that labels can be read
GAP, TITLE, FONT = 8, 20, 12
MASK_OPACITY = 0.4
LONGEST_STEM = 50  # characters of a picture's name


@dataclass(frozen=True)
class Shape:
    """label: what is written. box: left, top, right, bottom in pixels. mask: (H, W) bool or None. kind: class index."""

    label: str
    kind: int
    box: tuple[float, float, float, float]
    mask: np.ndarray | None


@torch.no_grad()
def draw_detections(
    cfg: CfgNode, model: nn.Module, records: Sequence[Record], classes: Sequence[str], count: int, out: Path
) -> list[Path]:
    """Write OUT/NAME.png for `count` images evenly spread over `records`; leaves the model in eval mode.

    Right: the annotated objects. Left: as many predictions, those of highest score. There is no threshold on the score:
    a detector trained for a few minutes has low scores, and a threshold would hide what it has learnt.

    Args:
        cfg: the configuration of the model.
        model: a detector.
        records: of a split.
        classes: names in the order of their indices.
        count: how many images to draw.
        out: folder.
    """
    model.eval()
    mapper = DatasetMapper(cfg, False)
    written: list[Path] = []
    for record in evenly_spread(records, count):
        instances = model([mapper(record)])[0]["instances"].to("cpu")
        with Image.open(record["file_name"]) as opened:
            image = _upright(opened.convert("RGB"), (record["width"], record["height"]))
        annotated = annotated_shapes(record, classes)
        guessed = predicted_shapes(instances, classes, len(annotated))
        panels = (
            _panel(image, guessed, f"predictions: the {len(guessed)} of highest score"),
            _panel(image, annotated, f"ground truth: {len(annotated)}"),
        )
        target = picture_path(out, record, written)
        written.append(write_atomically(target, partial(side_by_side(*panels).save, format="PNG")))
    return written


def picture_path(out: Path, record: Record, taken: Sequence[Path]) -> Path:
    """OUT/STEM.png of a record's image, short, printable and with a number behind it where that is taken."""
    stem = re.sub(r"[^\w.-]", "_", Path(record["file_name"]).stem)[:LONGEST_STEM]
    places = itertools.chain([""], (f"_{place}" for place in itertools.count(2)))
    return next(path for place in places if (path := out / f"{stem}{place}.png") not in taken)


def predicted_shapes(instances: Instances, classes: Sequence[str], most: int) -> list[Shape]:
    """The `most` instances of highest score of one image, in its own pixels, labelled with their scores."""
    best = instances[instances.scores.argsort(descending=True)[:most]]
    masks = best.pred_masks.numpy() if best.has("pred_masks") else [None] * len(best)
    boxes, scores, kinds = best.pred_boxes.tensor.tolist(), best.scores.tolist(), best.pred_classes.tolist()
    return [
        Shape(f"{printable(classes[kind])} {score:.2f}", kind, tuple(box), mask)
        for box, score, kind, mask in zip(boxes, scores, kinds, masks, strict=True)
    ]


def annotated_shapes(record: Record, classes: Sequence[str]) -> list[Shape]:
    """The annotations of one detectron2 record; a crowd region is not drawn."""
    shapes = []
    for annotation in objects_of(record):
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        checked = annotation.get("segmentation")
        mask = pixels_of(checked, size_of(record)) if checked else None
        category = annotation["category_id"]
        shapes.append(Shape(printable(classes[category]), category, tuple(box), mask))
    return shapes


def _upright(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return ImageOps.exif_transpose(image) if image.size != size else image


def _panel(image: Image.Image, shapes: Sequence[Shape], title: str) -> Image.Image:
    """The image at SIDE pixels under a line of text, with masks blended and boxes outlined in the class's colour."""
    scale = SIDE / max(image.size)
    pixels = np.asarray(image, dtype=np.float32).copy()
    for shape in shapes:
        if shape.mask is not None:
            pixels[shape.mask] = (1 - MASK_OPACITY) * pixels[shape.mask] + MASK_OPACITY * np.array(
                class_colour(shape.kind)
            )
    size = (round(scale * image.width), round(scale * image.height))
    enlarged = Image.fromarray(pixels.round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    panel = Image.new("RGB", (size[0], size[1] + TITLE), "white")
    panel.paste(enlarged, (0, TITLE))
    canvas, font = ImageDraw.Draw(panel), ImageFont.load_default(FONT)
    canvas.text((2, 2), title, fill="black", font=font)
    corners = [tuple(scale * side for side in shape.box) for shape in shapes]
    for shape, (left, top, right, bottom) in zip(shapes, corners, strict=True):
        canvas.rectangle((left, top + TITLE, right, bottom + TITLE), outline=class_colour(shape.kind), width=2)
    for shape, (left, top, _, _) in zip(shapes, corners, strict=True):  # last, so that no outline crosses a label
        corner = (min(left + 2, size[0] - 40), max(top, 0) + TITLE)
        canvas.rectangle(canvas.textbbox(corner, shape.label, font=font), fill=class_colour(shape.kind))
        canvas.text(corner, shape.label, fill="black", font=font)
    return panel


def evenly_spread(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` of the records, evenly spread over all of them, the first and the last included."""
    indices = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int))
    return [records[int(index)] for index in indices]


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two panels of one height as one picture."""
    joined = Image.new("RGB", (left.width + GAP + right.width, left.height), "white")
    joined.paste(left, (0, 0))
    joined.paste(right, (left.width + GAP, 0))
    return joined


def class_colour(kind: int) -> tuple[int, int, int]:
    """A bright colour a class: hues a golden section apart, so that neighbouring indices differ."""
    red, green, blue = colorsys.hsv_to_rgb(kind * 0.618 % 1, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
