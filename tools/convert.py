"""Convert a pretrained trunk: python tools/convert.py runs/demo/export/trunk.pth trunk.pkl --to detectron2."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.errors import UserError, run_tool


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; `source` and `out` are paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help="checkpoint or export of ours, official, torchvision")
    parser.add_argument("out", type=Path, metavar="OUT", help=".pkl for detectron2, .pth for torchvision")
    parser.add_argument("--to", required=True, choices=("detectron2", "torchvision"), help="whose names to write")
    parser.add_argument("--branch", default="online", choices=("online", "target"), help="of a training checkpoint")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read, check, write a draft, compare its features with the source's, and only then put it at OUT."""
    args = parse(argv)
    if (args.out.suffix == ".pkl") != (args.to == "detectron2"):
        raise UserError(f"{args.out}: detectron2 tells a file by its ending, so use .pkl for it and .pth otherwise.")
    if args.out.is_dir() or args.out.resolve() == args.source.resolve():
        raise UserError(f"{args.out} is {'a folder' if args.out.is_dir() else 'the input itself'}: name another OUT.")

    from transfer import convert
    from transfer.detection import require_detectron2, verify

    if args.to == "detectron2":
        require_detectron2()
        save, stages_of_draft = convert.save_detectron2, verify.stages_of_file
    else:
        save, stages_of_draft = convert.save_torchvision, convert.stages_of_file
    trunk = convert.read_trunk(args.source, args.branch)
    origin = convert.provenance_of(args.source, trunk)
    write = partial(save, trunk_file=trunk, origin=origin)
    differences = convert.write_verified(args.out, trunk, write, stages_of_draft)
    print(f"{args.source}: {trunk.layout}, {trunk.arch}, {len(trunk.state)} tensors, sha256 {origin['sha256']}")
    for stage, difference in differences.items():
        print(f"{stage}: largest difference from the source {difference:.1e} (allowed {convert.TOLERANCE:.0e})")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    run_tool(main)
