"""The command line of tools/benchmark.py: options written once, and which of them each task has."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pretrain.runtime.errors import UserError

HELP = {
    "--arch": "trunk, resnet18 to resnet101",
    "--size": "side of the global views in pixels",
    "--batch": "images a step",
    "--width": "C, channels of the rows",
    "--locals": "local views an image",
    "--local-size": "their side in pixels",
    "--images": "images that take part; in loader, for each worker",
    "--workers": "loader processes",
    "--worker-counts": "numbers of loader processes, such as 1,2,4",
    "--widths": "C of the rows, such as 2048,4096",
    "--rows-per-rank": "n, rows of a view, such as 256,1024",
    "--only": "rows to measure, such as unigrad,simclr",
    "--eigh-up-to": "run rows with an eigh up to this C",
    "--precision": "fp32, bf16, or on a GPU fp16",
    "--steps": "steps that count, after a warm-up",
    "--queries": "rows whose neighbours are sought",
    "--bank": "rows among which they are sought; 4 bytes x width each on disk",
    "--rows": "features that are trained on",
    "--classes": "of the features",
    "--epochs": "over the features",
    "--repeats": "rounds",
    "--threads": "threads of the CPU",
    "--device": "auto, cpu or cuda",
}
TEXTS = ("--arch", "--only", "--precision", "--device")
LISTS = ("--worker-counts", "--widths", "--rows-per-rank")
FROM_ZERO = ("--locals", "--workers")

LOCAL = {"--locals": "0", "--local-size": "96"}
NETWORK = {"--arch": "resnet18", "--size": "64", "--batch": "32", "--width": "2048"} | LOCAL
ROUNDS = {"--repeats": "5"}
MACHINE = {"--threads": "1", "--device": "auto"}


class Task(NamedTuple):
    """run: what does it. root: ROOT in argparse's way, "1" needed, "?" optional, "" none. options: their defaults."""

    run: Callable[[argparse.Namespace], None]
    help: str
    root: str
    options: dict[str, str | None]


def parser(description: str, known: dict[str, Task]) -> argparse.ArgumentParser:
    """The command line of all tasks."""
    root = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = root.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, task in known.items():
        added = tasks.add_parser(name, help=task.help, description=task.help)
        added.set_defaults(run=task.run)
        if task.root:
            many = "?" if task.root == "?" else None
            added.add_argument("root", type=Path, nargs=many, metavar="ROOT", help="folder of images, or a packed set")
        for option, default in task.options.items():
            shown = "as many as there are" if default is None else default
            added.add_argument(option, default=default, help=f"{HELP[option]} (default: {shown})")
        added.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    return root


def read(args: argparse.Namespace) -> argparse.Namespace:
    """Texts of the command line to numbers, in place.

    Raises:
        UserError: what is no whole number or too small, or a folder where a file belongs.
    """
    for option in HELP:
        text = getattr(args, _name(option), None)
        if text is not None and option not in TEXTS:
            setattr(args, _name(option), _numbers(option, text))
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder: give the name of a file in it.")
    return args


def _name(option: str) -> str:
    return option[2:].replace("-", "_")


def _numbers(option: str, text: str) -> int | list[int]:
    least = 0 if option in FROM_ZERO else 1
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < least:
        such = "2 or 256,1024" if option in LISTS else "2"
        raise UserError(f"{option} {text} is not understood: give a whole number of at least {least}, such as {such}.")
    if option in LISTS:
        return values
    if len(values) > 1:
        raise UserError(f"{option} {text} is more than one number: give one.")
    return values[0]
