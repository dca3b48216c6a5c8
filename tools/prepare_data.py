"""Prepare image sets: draw a synthetic one, pack a folder into one file, or unpack and check a public benchmark.

Usage: `python tools/prepare_data.py synthetic OUT [--classes 8 --train 1600 --val 400 ...]`
       `python tools/prepare_data.py pack SRC OUT [--short-side 288 --quality 90]`
       `python tools/prepare_data.py voc|coco|cityscapes|lvis|imagenet|ade20k|nyu ROOT [--archives DIR]`
       `python tools/prepare_data.py transfer ROOT [--sets food101,dtd --archives DIR]`
       `python tools/prepare_data.py labels INSTANCES.json OUT [--group]`

`python tools/prepare_data.py NAME --help` lists the options of one of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from tools.datasets import all_datasets


def parser() -> argparse.ArgumentParser:
    """The command line: one word for each file of tools/datasets."""
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = root.add_subparsers(dest="kind", required=True, metavar="NAME", help="one of these, with its own options:")
    for dataset in all_datasets().values():
        dataset.add_options(
            kinds.add_parser(dataset.name, help=dataset.help, description=dataset.help, allow_abbrev=False)
        )
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse and prepare."""
    args = parser().parse_args(argv)
    all_datasets()[args.kind].prepare(args)


if __name__ == "__main__":
    run_tool(main)
