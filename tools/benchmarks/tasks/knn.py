"""The cost of k-NN."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import ROUNDS, THREADS, WIDTH, number
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Cost of k-NN beside a plain matrix product."""
    import torch

    from tools.benchmarks import session
    from tools.benchmarks.measure import knn

    environment = session.start(torch.device("cpu"), knn.search_checks(args.width), args)
    costs = [knn.measure(args.queries, args.bank, args.width, args.repeats, torch.device("cpu"))]
    session.finish(args, environment, session.print_each(costs, knn.line))


TASK = Task(
    "knn",
    "k-NN in a bank on disk beside a plain matrix product of that size, and its peak memory",
    run,
    options=(
        number("queries", 2000, "rows whose neighbours are sought"),
        number("bank", 100_000, "rows among which they are sought; 4 bytes x width each on disk"),
        WIDTH,
        *THREADS,
        *ROUNDS,
    ),
)
