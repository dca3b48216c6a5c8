"""Training end to end."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import MACHINE, NETWORK, number, text
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """Training end to end, by the clock on the wall."""
    from pretrain.data.sources import open_source
    from pretrain.runtime.devices.device import choose_device
    from tools.benchmarks import session, timing
    from tools.benchmarks.measure import data, loader, train
    from tools.benchmarks.reference import checks

    size, device = session.size_of(args), choose_device(args.device, "--device")
    workers = loader.worker_counts()[-1] if args.workers is None else args.workers
    overrides = [f"run.precision={args.precision}", f"run.device={device.type}"]
    size.check(*overrides)
    files = data.bytes_of(open_source(args.root), checks.IMAGES)
    results = [*checks.windows(), *checks.pixels(files), *checks.step(min(size.locals, 2))]
    environment = session.start(device, results, args, clock=timing.WALL, workers=workers)
    cost = train.measure(args.root, size, args.steps, f"data.workers={workers}", *overrides)
    print(train.text(cost))
    session.finish(args, environment, [cost])


TASK = Task(
    "train",
    "training end to end: images a second, waiting for data, hours of ImageNet",
    run,
    root="1",
    options=(
        *NETWORK,
        number("workers", None, "loader processes, as many as there are cores without it", at_least=0),
        text("precision", "bf16", "of the network's passes; fp16 needs a GPU", ("fp32", "bf16", "fp16")),
        number("steps", 50, "steps that count, after a warm-up"),
        *MACHINE,
    ),
)
