"""What a step sends and what a rank holds, from the shapes alone, for 1 to 128 nodes: nothing is run or allocated.

python tools/scaling.py --config configs/pretrain/unigrad_r50_100ep.yaml [section.key=value ...]

With --memory: the peak of each rank's device memory, and the fewest parts (optim.accumulate) that fit.

Bytes, numbers of collectives and memory are exact (tests/tools/test_scaling.py compares with gloo ranks).
What autograd keeps is that of an uncompiled pass (tests/pretrain/engine/test_peak_memory.py).
Milliseconds follow from four assumptions, which are options, and are no measurement. docs/scaling.md reads the tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.config import further_options, pretraining_options
from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_config


def positive(text: str) -> float:
    """A number above 0, for an option."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False, allow_abbrev=False
    )
    add_help(root, pretraining_options, (("method", "optim"), further_options))
    root.add_argument("--config", type=a_config, action=Once, help="YAML as tools/pretrain.py takes it")
    root.add_argument("--per-node", type=int, default=8, help="ranks of a node, at least 1 (8)")
    root.add_argument("--inside", type=positive, default=400.0, help="assumed GB/s in a node (400)")
    root.add_argument("--between", type=positive, default=12.5, help="assumed GB/s of a node's link (12.5: 100 Gb/s)")
    root.add_argument("--latency", type=positive, default=20.0, help="assumed µs a collective (20)")
    root.add_argument("--rate", type=positive, default=1300.0, help="assumed images/s of a rank alone (1300)")
    root.add_argument("--memory", action="store_true", help="print the peak of a rank's device memory instead")
    root.add_argument("--gib", type=positive, default=79.0, help="memory of a device for --memory, in GiB (79)")
    root.add_argument("overrides", nargs="*", metavar="section.key=value", help="any option listed below")
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    args = parser().parse_intermixed_args(argv)
    if args.per_node < 1:
        raise UserError(f"--per-node={args.per_node} is too small: it must be at least 1.")

    from tools.benchmarks.step_cost import Assumed, step_cost, tables

    if args.memory:
        from tools.benchmarks import step_memory

        print(step_memory.table(step_cost(args.config, args.overrides), args.per_node, args.gib))
        return
    assumed = Assumed(args.inside, args.between, args.latency, args.rate)
    print(tables(step_cost(args.config, args.overrides), args.per_node, assumed))


if __name__ == "__main__":
    run_tool(main)
