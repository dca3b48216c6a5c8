"""The cost of making the views of an image."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import IMAGES, ROUNDS
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Costs of making views; one thread, as in a worker."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import session
    from tools.benchmarks.measure import data, peers
    from tools.benchmarks.reference import checks

    source = open_source(args.root)
    files = data.bytes_of(source, args.images)
    results = [*checks.windows(), *checks.pixels(files)]
    more = {"images": len(files), "packed": source.kind == "packed"}
    environment = session.start(torch.device("cpu"), results, args, **more)
    print(data.HEADER)
    costs = data.measure(files, args.repeats)
    print("\n".join(filter(None, [*map(data.line, costs), peers.absent()])))
    session.finish(args, environment, costs)


TASK = Task("data", "cost of the views of an image, 2x224 and 2x224 + 6x96", run, root="1", options=(IMAGES, *ROUNDS))
