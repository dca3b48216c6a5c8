"""Steps of our rows beside lightly's of the same methods."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import MACHINE, ROUNDS
from tools.benchmarks.task import Task

STEPS = 10


def run(args: argparse.Namespace) -> None:
    """Costs of a step of each row with a peer, and of the peer's; how far their gradients differ stands beside them."""
    from pretrain.runtime.devices.device import choose_device
    from tools.benchmarks import session
    from tools.benchmarks.measure import methods

    device = choose_device(args.device, "--device")
    environment = session.start(device, [], args)
    print(methods.HEADER)
    costs = session.print_each(methods.measure(args.repeats, STEPS, device), methods.line)
    session.finish(args, environment, costs)


TASK = Task(
    "peers",
    "a step of SimCLR, BYOL and Barlow Twins beside lightly's, in the setting of docs/evidence.md",
    run,
    options=(*ROUNDS, *MACHINE),
)
