"""Images a second of the whole loader."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import BATCH, LOCAL, ROUNDS, SIZE, default, number, numbers
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Images a second of whole loaders, by the clock on the wall."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import session, timing
    from tools.benchmarks.measure import data, loader
    from tools.benchmarks.reference import checks

    source = data.readable(open_source(args.root), args.images)
    size = session.size_of(args)
    results = [*checks.windows(), *checks.pixels(data.bytes_of(source, checks.IMAGES))]
    environment = session.start(torch.device("cpu"), results, args, clock=timing.WALL)
    print(f"cores a GPU: that many feed one that takes {loader.GPU_TAKES} images/s, by CPU time")
    print(loader.HEADER)
    workers = args.worker_counts or loader.worker_counts()
    costs = session.print_each(loader.measure(source, size, args.images, workers, args.repeats), loader.line)
    session.finish(args, environment, costs)


TASK = Task(
    "loader",
    "images a second of the whole loader",
    run,
    root="1",
    options=(
        number("images", 256, "images that take part, for each worker"),
        numbers("worker_counts", None, "numbers of loader processes, such as 1,2,4 up to the cores"),
        default(SIZE, 224),
        BATCH,
        *LOCAL,
        *ROUNDS,
    ),
)
