"""Measure this code beside the official code's formulation: python tools/benchmark.py TASK [--json FILE].

A speed is shown only where the checks that belong to it pass; where they fail, the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from tools.benchmarks.options import LOCAL, MACHINE, NETWORK, ROUNDS, Task, parser, read

if TYPE_CHECKING:
    import torch

    from tools.benchmarks.reference.checks import Check
    from tools.benchmarks.step import Size


def run_equivalence(args: argparse.Namespace) -> None:
    """All checks; ends with exit code 1 where one fails."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import data
    from tools.benchmarks.reference import checks

    files = data.bytes_of(open_source(args.root), checks.IMAGES) if args.root else checks.generated()
    found = (checks.windows(), checks.pixels(files), checks.losses(), checks.step(), checks.step(local=2))
    about = _held(torch.device("cpu"), (check for group in found for check in group), args)
    _write(args, about, [])


def run_data(args: argparse.Namespace) -> None:
    """Costs of making views; one thread, as in a worker."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import data, peers
    from tools.benchmarks.reference import checks

    source = open_source(args.root)
    files = data.bytes_of(source, args.images)
    found = [*checks.windows(), *checks.pixels(files)]
    about = _held(torch.device("cpu"), found, args, images=len(files), packed=source.packed is not None)
    print(data.HEADER)
    costs = data.measure(files, args.repeats)
    print("\n".join(filter(None, [*map(data.line, costs), peers.absent()])))
    _write(args, about, costs)


def run_loader(args: argparse.Namespace) -> None:
    """Images a second of whole loaders, on the wall."""
    import torch

    from pretrain.data.sources import open_source
    from tools.benchmarks import data, loader, timing
    from tools.benchmarks.reference import checks

    source = data.readable(open_source(args.root), args.images)
    size = _size(args)
    found = [*checks.windows(), *checks.pixels(data.bytes_of(source, checks.IMAGES))]
    about = _held(torch.device("cpu"), found, args, clock=timing.WALL)
    print(f"cores a GPU: that many feed one that takes {loader.GPU_TAKES} images/s, by CPU time")
    print(loader.HEADER)
    workers = args.worker_counts or loader.worker_counts()
    costs = _shown(loader.measure(source, size, args.images, workers, args.repeats), loader.line)
    _write(args, about, costs)


def run_step(args: argparse.Namespace) -> None:
    """Costs of a training step."""
    from pretrain.runtime.device import choose_device
    from tools.benchmarks import step
    from tools.benchmarks.reference import checks

    size, device = _size(args), choose_device(args.device, "--device")
    about = _held(device, checks.step(min(size.locals, 2)), args)
    print("ours takes uint8 views and normalises them inside the step, the official-style one is given normalised ones")
    print(step.HEADER)
    costs = _shown(step.measure(size, args.repeats, device, _tell), step.line)
    print(step.target(size, device))
    _write(args, about, costs)


def run_loss(args: argparse.Namespace) -> None:
    """Costs of the objective of each row; the gradients of a row at its size are checked and printed beside it."""
    from pretrain import methods
    from pretrain.runtime.device import choose_device
    from tools.benchmarks import loss

    names = args.only.split(",") if args.only else list(methods.ROWS)
    for name in names:
        methods.find(name)
    device = choose_device(args.device, "--device")
    about = _held(device, [], args)
    print(loss.HEADER)
    costs = []
    for size in (loss.Size(width, n, device) for width in args.widths for n in args.rows_per_rank):
        found = loss.measure(names, size, args.repeats, args.eigh_up_to, _tell)
        costs += _shown(found, loss.line)
    _write(args, about, costs)
    if any(cost.refused for cost in costs):
        raise SystemExit("error: gradients differ from the official code's where no speed is shown.")


def run_train(args: argparse.Namespace) -> None:
    """Training end to end, on the wall."""
    from pretrain.data.sources import open_source
    from pretrain.runtime.device import choose_device
    from tools.benchmarks import data, loader, timing, train
    from tools.benchmarks.reference import checks

    size, device = _size(args), choose_device(args.device, "--device")
    workers = loader.worker_counts()[-1] if args.workers is None else args.workers
    overrides = [f"run.precision={args.precision}", f"run.device={device.type}"]
    size.check(*overrides)
    files = data.bytes_of(open_source(args.root), checks.IMAGES)
    found = [*checks.windows(), *checks.pixels(files), *checks.step(min(size.locals, 2))]
    about = _held(device, found, args, clock=timing.WALL, workers=workers)
    cost = train.measure(args.root, size, args.steps, f"data.workers={workers}", *overrides)
    print(train.text(cost))
    _write(args, about, [cost])


def run_knn(args: argparse.Namespace) -> None:
    """Cost of k-NN beside a plain matrix product."""
    import torch

    from tools.benchmarks import frozen

    about = _held(torch.device("cpu"), frozen.neighbours_apart(args.width), args)
    costs = [frozen.search(args.queries, args.bank, args.width, args.repeats)]
    _write(args, about, _shown(costs, frozen.search_line))


def run_probe(args: argparse.Namespace) -> None:
    """Cost of several settings of the linear probe at once beside one."""
    import torch

    from tools.benchmarks import frozen

    about = _held(torch.device("cpu"), [], args)
    costs = [frozen.compete(args.rows, args.width, args.classes, args.epochs, args.repeats)]
    _write(args, about, _shown(costs, frozen.race_line))


TASKS = {
    "equivalence": Task(run_equivalence, "what holds this code to the official one, with numbers and bounds", "?", {}),
    "data": Task(run_data, "cost of the views of an image, 2x224 and 2x224 + 6x96", "1", {"--images": "100"} | ROUNDS),
    "loader": Task(
        run_loader,
        "images a second of the whole loader",
        "1",
        {"--images": "256", "--worker-counts": None, "--size": "224", "--batch": "32"} | LOCAL | ROUNDS,
    ),
    "step": Task(run_step, "cost of a training step on images that are ready", "", NETWORK | ROUNDS | MACHINE),
    "loss": Task(
        run_loss,
        "cost of the objective of every row of Table 2",
        "",
        {"--widths": "2048,4096,8192", "--rows-per-rank": "256,1024", "--only": None, "--eigh-up-to": "2048"}
        | ROUNDS
        | MACHINE,
    ),
    "train": Task(
        run_train,
        "training end to end: images a second, waiting for data, hours of ImageNet",
        "1",
        NETWORK | {"--workers": None, "--precision": "bf16", "--steps": "50"} | MACHINE,
    ),
    "knn": Task(
        run_knn,
        "k-NN in a bank on disk beside a plain matrix product of that size, and its peak memory",
        "",
        {"--queries": "2000", "--bank": "100000", "--width": "2048", "--threads": "1"} | ROUNDS,
    ),
    "probe": Task(
        run_probe,
        "several settings of the linear probe at once beside a single one",
        "",
        {"--rows": "20000", "--width": "512", "--classes": "10", "--epochs": "60", "--threads": "1"} | ROUNDS,
    ),
}


def _size(args: argparse.Namespace) -> Size:
    """What the command line says of the network and its views.

    Raises:
        UserError: it says what no run could have.
    """
    from tools.benchmarks.step import Size

    size = Size(**{name: value for name, value in vars(args).items() if name in Size.__annotations__})
    size.check()
    return size


def _held(device: torch.device, found: Iterable[Check], args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Print the environment, what was asked, and the checks as they come; all of it, if they pass, and else the end."""
    import torch

    from tools.benchmarks import timing
    from tools.benchmarks.reference import checks

    torch.set_num_threads(getattr(args, "threads", 1))
    told_apart = ("run", "root", "json", "threads", "device")
    asked = {name: value for name, value in vars(args).items() if name not in told_apart}
    about = timing.environment(device) | asked | more
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    found = _shown(found, checks.line)
    if not all(check.passed for check in found):
        raise SystemExit("error: a check failed, so no speed is shown.")
    if "repeats" in args:
        print(f"median [quartiles] of {args.repeats} rounds in which all take turns")
    return about | {"checks": [vars(check) for check in found]}


def _shown(results: Iterable[Any], line: Any) -> list[Any]:
    """Print each result's line as it comes."""
    seen = []
    for result in results:
        print(line(result), flush=True)
        seen.append(result)
    return seen


def _write(args: argparse.Namespace, about: dict[str, Any], costs: list[Any]) -> None:
    from tools.benchmarks import timing

    if args.json is not None:
        timing.write(args.json, about, costs)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    args = read(parser(__doc__, TASKS).parse_args(argv))
    args.run(args)


if __name__ == "__main__":
    run_tool(main)
