"""Measure this code beside the official code's formulation: python tools/benchmark.py TASK [--json FILE].

A speed is shown only where the checks that belong to it pass; where they fail, the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from tools.benchmarks.options import make_parser, read_options
from tools.benchmarks.tasks import TASKS


def parser() -> argparse.ArgumentParser:
    """The command line of all tasks."""
    return make_parser(__doc__, TASKS.values())


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    args = parser().parse_args(argv)
    args.run(read_options(args, TASKS[args.task]))


if __name__ == "__main__":
    run_tool(main)
