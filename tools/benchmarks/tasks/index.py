"""The cost of listing a large folder of images."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tools.benchmarks.options import ROUNDS, number
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """List a folder here, again, and by torchvision, in turns."""
    import torch

    from tools.benchmarks import session, timing
    from tools.benchmarks.measure import index

    with tempfile.TemporaryDirectory() as made:
        root = args.root or Path(made)
        if not args.root:
            print(f"generating {args.images} files", flush=True)
            index.generate(root, args.images)
            index.wait_until_settled([path.stat().st_mtime for path in root.iterdir()])
        environment = session.start(torch.device("cpu"), (), args, clock=timing.WALL)
        print(index.HEADER)
        costs = session.print_each(index.measure(root, args.repeats), index.line)
    session.finish(args, environment, costs)


TASK = Task(
    "index",
    "listing a large folder, beside torchvision's ImageFolder",
    run,
    root="?",
    options=(number("images", 1_280_000, "files that are generated where no folder is given"), *ROUNDS),
)
