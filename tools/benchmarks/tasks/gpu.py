"""Everything that waits for a GPU."""

from __future__ import annotations

import argparse

from tools.benchmarks.options import DEVICE, number, text
from tools.benchmarks.task import Task


def run(args: argparse.Namespace) -> None:
    """All parts, as one Markdown table; what is measured is written after each part."""
    from pretrain.runtime.devices.device import choose_device
    from pretrain.runtime.errors import UserError
    from tools.benchmarks import timing
    from tools.benchmarks.gpu import table
    from tools.benchmarks.gpu.conduct import Run, conduct
    from tools.benchmarks.gpu.parts import PARTS
    from transfer.datasets.labelled import open_labelled

    names = args.only.split(",") if args.only else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        raise UserError(f"--only {','.join(unknown)} is not known: choose some of {','.join(PARTS)}.")
    device = choose_device(args.device, "--device")
    if args.root:
        open_labelled(args.root)
    environment = timing.environment(device) | {"minutes": args.minutes, "images": str(args.root or "generated")}
    print("\n".join(f"- {name}: {value}" for name, value in environment.items()), f"\n{table.HEADER}", sep="\n")
    asked = Run(device.type, device.type == "cpu", args.root, args.minutes)
    readings = []
    for reading in conduct([PARTS[name] for name in names], asked):
        print(table.row(reading), flush=True)
        readings.append(reading)
        if args.json is not None:
            timing.write(args.json, environment, readings)


TASK = Task(
    "gpu",
    "everything that waits for a GPU, in parts, the most telling first; on a CPU all of it at toy size",
    run,
    root="?",
    options=(
        number("minutes", 9, "time of all parts together"),
        text("only", None, "parts to measure, such as step,train"),
        DEVICE,
    ),
)
