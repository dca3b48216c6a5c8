"""A folder of images in one packed file, which pretraining reads faster."""

from __future__ import annotations

import argparse
import os

from pretrain.runtime.options.arguments import a_path
from tools.datasets.base import DataSet, Number, add_numbers, check_numbers

NUMBERS = (
    Number(
        "short-side", 288, "resize images to this short side in pixels where it is longer; 0 resizes none", 0, 100_000
    ),
    Number("quality", 90, "quality of the JPEGs of resized images; 0 packs all uncompressed", 0, 95),
    Number("class-depth", 0, "how many folders below SRC name the class; 0 asks where it is not sure", 0, 100),
    Number("workers", os.cpu_count() or 1, "processes", 0, 1024),
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=a_path, metavar="SRC", help="class folders, or a flat folder of images")
    parser.add_argument("out", type=a_path, metavar="OUT", help="folder to write; run again to go on after a stop")
    add_numbers(parser, NUMBERS)


def _prepare_packed(args: argparse.Namespace) -> None:
    from pretrain.data.pack import pack

    check_numbers(args, NUMBERS)
    pack(args.source, args.out, args.short_side, args.quality, args.workers, args.class_depth)


DATASET = DataSet(
    "pack",
    "pack class folders or a flat folder into one blob and an index; OUT then serves as a data root",
    _add_options,
    _prepare_packed,
)
