"""The cost of a training step."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import MACHINE, NETWORK, ROUNDS
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Costs of a training step."""
    from pretrain.runtime.devices.device import choose_device
    from tools.benchmarks import session
    from tools.benchmarks.measure import step
    from tools.benchmarks.reference import checks

    size, device = session.size_of(args), choose_device(args.device, "--device")
    environment = session.start(device, checks.step(min(size.locals, 2)), args)
    print("ours takes uint8 views and normalises them inside the step, the official-style one is given normalised ones")
    print(step.HEADER)
    costs = session.print_each(step.measure(size, args.repeats, device, session.announce), step.line)
    print(step.target(size, device))
    session.finish(args, environment, costs)


TASK = Task("step", "cost of a training step on images that are ready", run, options=(*NETWORK, *ROUNDS, *MACHINE))
