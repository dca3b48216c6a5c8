"""The cost of the linear probe."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import ROUNDS, THREADS, WIDTH, default, number
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Cost of several settings of the linear probe at once beside one."""
    import torch

    from tools.benchmarks import session
    from tools.benchmarks.measure import probe

    environment = session.start(torch.device("cpu"), [], args)
    costs = [probe.measure(args.rows, args.width, args.classes, args.epochs, args.repeats, torch.device("cpu"))]
    session.finish(args, environment, session.print_each(costs, probe.line))


TASK = Task(
    "probe",
    "several settings of the linear probe at once beside a single one",
    run,
    options=(
        number("rows", 20_000, "features that are trained on"),
        default(WIDTH, 512),
        number("classes", 10, "classes of the features"),
        number("epochs", 60, "passes over the features"),
        *THREADS,
        *ROUNDS,
    ),
)
