"""The cost of the objective of every row of Table 2."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import MACHINE, ROUNDS, number, numbers, text
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Costs of the objective of each row; the gradients of a row at its size are checked and printed beside it."""
    from pretrain import methods
    from pretrain.runtime.devices.device import choose_device
    from tools.benchmarks import session
    from tools.benchmarks.measure import loss

    names = args.only.split(",") if args.only else list(methods.ROWS)
    for name in names:
        methods.find(name)
    device = choose_device(args.device, "--device")
    environment = session.start(device, [], args)
    print(loss.HEADER)
    costs = []
    for size in (loss.Size(width, n, device) for width in args.widths for n in args.rows_per_rank):
        measured = loss.measure(names, size, args.repeats, args.eigh_up_to, session.announce)
        costs += session.print_each(measured, loss.line)
    session.finish(args, environment, costs)
    if any(cost.refused for cost in costs):
        raise SystemExit("error: gradients differ from the official code's where no speed is shown.")


TASK = Task(
    "loss",
    "cost of the objective of every row of Table 2",
    run,
    options=(
        numbers("widths", [2048, 4096, 8192], "C, channels of the rows"),
        numbers("rows_per_rank", [256, 1024], "n, rows of a view on this rank"),
        text("only", None, "rows of Table 2 to measure, such as unigrad,simclr"),
        number("eigh_up_to", 2048, "the largest C at which rows with an eigh are run"),
        *ROUNDS,
        *MACHINE,
    ),
)
