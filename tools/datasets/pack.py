"""A folder of images in one packed file, which pretraining reads faster."""

from __future__ import annotations

import argparse
import os

from pretrain.runtime.options.arguments import a_path, expanded
from tools.datasets.base import DataSet, Number, add_numbers, check_numbers

NUMBERS = (
    Number(
        "short-side", 288, "resize images to this short side in pixels where it is longer; 0 resizes none", 0, 100_000
    ),
    Number("quality", 90, "quality of the JPEGs of resized images; 0 packs all uncompressed", 0, 95),
    Number("class-depth", 0, "how many folders below SRC name the class; 0 asks where it is not sure", 0, 100),
    Number("url-cache-gib", 32, "how large the folder of --url-cache may become in GiB; 0 keeps nothing", 0, 1_000_000),
    Number("workers", os.cpu_count() or 1, "processes", 0, 1024),
)
NAMES = {
    "images-root": "folder from which the paths of a list start (default: the list's own)",
    "image-column": "column or array that holds the images or their paths (default: one of the usual names)",
    "label-column": "the same of the labels",
    "index-cache": "folder that keeps the indexes of archives (default: the system's for caches)",
    "url-cache": "folder that keeps what was read from URLs (default: the system's for caches)",
}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=expanded, metavar="SRC", help="images of any source of docs/data.md")
    parser.add_argument("out", type=a_path, metavar="OUT", help="folder to write; run again to go on after a stop")
    add_numbers(parser, NUMBERS)
    for name, text in NAMES.items():
        parser.add_argument(f"--{name}", default="", metavar="NAME", help=text)


def _prepare_packed(args: argparse.Namespace) -> None:
    from pretrain.data.pack import pack
    from pretrain.data.sources import Reading

    check_numbers(args, NUMBERS)
    reading = Reading.of(args)
    pack(args.source, args.out, args.short_side, args.quality, args.workers, args.class_depth, reading)


DATASET = DataSet(
    "pack",
    "pack images of any source into one blob and an index; OUT then serves as a data root",
    _add_options,
    _prepare_packed,
)
