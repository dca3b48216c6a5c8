"""Measure this code beside the official code's formulation: python tools/benchmark.py {loss,data ROOT} [--json FILE].

loss: the cost of a step of every row of Table 2, objective and backward to the rows.
data: the cost of making an image's views, from the bytes of its file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.errors import UserError, run_tool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = root.add_subparsers(dest="task", required=True, metavar="TASK")
    loss = tasks.add_parser("loss", help="cost of a step of every row of Table 2")
    loss.set_defaults(run=run_loss)
    loss.add_argument("--widths", default="2048,4096,8192", help="C of the rows (default: %(default)s)")
    loss.add_argument("--rows-per-rank", default="256,1024", help="n, rows of a view (default: %(default)s)")
    loss.add_argument("--only", metavar="ROWS", help="rows to measure, such as unigrad,simclr (default: all)")
    loss.add_argument(
        "--eigh-up-to", default="2048", metavar="C", help="run rows with an eigh up to this C (%(default)s)"
    )
    loss.add_argument("--repeats", default="5", help="rounds (default: %(default)s)")
    loss.add_argument("--threads", default="1", help="threads of the CPU (default: %(default)s)")
    loss.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    loss.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    data = tasks.add_parser("data", help="cost of the views of an image, 2x224 and 2x224 + 6x96")
    data.set_defaults(run=run_data)
    data.add_argument("root", type=Path, metavar="ROOT", help="folder of images, or a packed set")
    data.add_argument("--images", default="100", help="how many of them (default: %(default)s)")
    data.add_argument("--repeats", default="5", help="rounds (default: %(default)s)")
    data.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    return root


def counts(option: str, text: str) -> list[int]:
    """Whole numbers above 0, separated by commas."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [0]
    if min(values) < 1:
        raise UserError(f"{option} {text} is not understood: give whole numbers above 0, such as 2 or 256,1024.")
    return values


def count(option: str, text: str) -> int:
    """One whole number above 0."""
    first, *more = counts(option, text)
    if more:
        raise UserError(f"{option} {text} is more than one number: give one.")
    return first


def run_loss(args: argparse.Namespace) -> None:
    """Print costs as they come; ends with exit code 1 where gradients did not agree and a speed was withheld."""
    widths, heights = counts("--widths", args.widths), counts("--rows-per-rank", args.rows_per_rank)
    repeats, threads = count("--repeats", args.repeats), count("--threads", args.threads)
    eigh_up_to = count("--eigh-up-to", args.eigh_up_to)
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder: give the name of a file in it.")

    import torch

    from pretrain import methods
    from tools import benchmark_loss, timing

    names = args.only.split(",") if args.only else list(methods.ROWS)
    for name in names:
        methods.find(name)
    torch.set_num_threads(threads)
    device = timing.choose(args.device)
    about = timing.environment(device)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(
        f"median [quartiles] of {repeats} rounds in which all take turns; {about['clock']}\n\n{benchmark_loss.HEADER}"
    )
    sizes = [benchmark_loss.Size(width, n, device) for width in widths for n in heights]
    costs = []
    for size in sizes:
        for cost in benchmark_loss.measure(names, size, repeats, eigh_up_to, _tell):
            print(benchmark_loss.line(cost), flush=True)
            costs.append(cost)
    if args.json is not None:
        timing.write(args.json, about, costs)
    if any(cost.refused for cost in costs):
        raise SystemExit("error: gradients differ from the official code's where no speed is shown.")


def run_data(args: argparse.Namespace) -> None:
    """Print costs, where the views agree with the official ones; one thread, as in a worker."""
    images, repeats = count("--images", args.images), count("--repeats", args.repeats)

    import torch

    from pretrain.data import open_source
    from tools import benchmark_data, timing

    torch.set_num_threads(1)
    source = open_source(args.root)
    files = benchmark_data.bytes_of(source, images)
    if refused := benchmark_data.disagreement(files):
        raise SystemExit(f"error: no speed is shown, for {refused}.")
    about = timing.environment(torch.device("cpu")) | {"images": len(files), "packed": source.packed is not None}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"windows and pixels agree with the official ones; median [quartiles] of {repeats} rounds\n")
    print(benchmark_data.HEADER)
    costs = benchmark_data.measure(files, repeats)
    print("\n".join(map(benchmark_data.line, costs)))
    if args.json is not None:
        timing.write(args.json, about, costs)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    args = parser().parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run_tool(main)
