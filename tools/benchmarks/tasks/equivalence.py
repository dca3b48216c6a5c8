"""What holds this code to the official code's formulation: every check, with numbers and bounds."""

from __future__ import annotations

import argparse

from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """All checks; ends with exit code 1 where one fails."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import session
    from tools.benchmarks.measure import data
    from tools.benchmarks.reference import checks

    files = data.bytes_of(open_source(args.root), checks.IMAGES) if args.root else checks.generated()
    groups = (checks.windows(), checks.pixels(files), checks.losses(), checks.step(), checks.step(local=2))
    environment = session.start(torch.device("cpu"), (check for group in groups for check in group), args)
    session.finish(args, environment, [])


TASK = Task("equivalence", "what holds this code to the official one, with numbers and bounds", run, root="?")
