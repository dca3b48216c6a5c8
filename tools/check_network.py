"""Check what is between the ranks of a job, within a minute: python tools/launch.py --network-check --nodes 8.

Ranks and devices, whether collectives are right, their bandwidth, that between every two nodes, and how far the clocks
are apart. It starts as a run does, through tools/launch.py or torchrun, and talks over the same groups.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import a_path

PATIENCE = 3.0  # minutes that a rank may be late


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    root.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto is a GPU (default auto)")
    root.add_argument("--out", type=a_path, metavar="JSON", help="file that gets all numbers (default: none)")
    return root


def main(argv: list[str] | None = None) -> None:
    """Join the others, measure, let rank 0 tell."""
    args = parser().parse_args(argv)
    from pretrain.runtime import distributed
    from pretrain.runtime.devices.device import choose_device
    from pretrain.runtime.files import write_json
    from tools.network import measure
    from tools.network.told import Measured

    device = choose_device(args.device, "--device")
    distributed.start(device, PATIENCE)
    if distributed.world_size() == 1:
        raise UserError("one process has no network to check: start two or more, by --nodes or --tasks.")
    with distributed.departure_told():
        ranks = [measure.Rank(**one) for one in distributed.gathered(dataclasses.asdict(measure.this_rank(device)))]
        first = {one.host: one.rank for one in reversed(ranks)}
        leaders = sorted(first.values())
        pairs, left_out = measure.pairs_of_nodes(device, leaders if len(leaders) > 1 else list(range(len(ranks))))
        told = Measured(
            ranks,
            measure.wrong_collectives(device),
            distributed.gathered(measure.products(device)),
            measure.all_reduces(device),
            pairs,
            left_out,
            measure.clock_offsets(leaders),
        )
        distributed.barrier()
    distributed.stop()
    if told.ranks[0].rank == distributed.asked_rank():
        print(*told.lines(), sep="\n", flush=True)
        if args.out:
            write_json(args.out, told.as_json())
    if told.faults():
        sys.exit(1)


if __name__ == "__main__":
    run_tool(main)
