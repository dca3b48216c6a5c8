"""Convert a pretrained trunk: python tools/convert.py runs/demo/export/trunk.pth trunk.pkl --to detectron2.

With --inspect, say what a file is instead: python tools/convert.py checkpoint.pth --inspect.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool

DESTINATIONS = ("detectron2", "torchvision", "timm", "mmdetection", "safetensors")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; `source` and `out` are paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", type=Path, metavar="IN", help="a checkpoint of a layout in transfer/convert/layouts.py"
    )
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help=".pkl or .pth, .safetensors for safetensors")
    parser.add_argument("--to", choices=DESTINATIONS, help="whose names to write")
    parser.add_argument("--inspect", action="store_true", help="say what IN is and write nothing")
    parser.add_argument(
        "--branch",
        choices=("online", "target"),
        help="of a training checkpoint: the one that learns, or the momentum, teacher or averaged one that follows it; "
        "without this, the one that its project evaluates",
    )
    parser.add_argument("--arch", help="torchvision's name of the network that IN must hold")
    parser.add_argument("--prefix", help="what the trunk's names begin with, for a file of no known layout")
    parser.add_argument(
        "--allow-pickle",
        metavar="SHA256",
        help="dangerous: let Python build any object that IN names, which can run any code; its SHA-256 shows that you "
        "mean this file",
    )
    args = parser.parse_args(argv)
    if not args.inspect and not (args.out and args.to):
        parser.error("OUT and --to are needed, or --inspect")
    return args


def main(argv: list[str] | None = None) -> None:
    """Read, check, write a draft, compare its features with the source's, and only then put it at OUT."""
    args = parse(argv)
    if args.inspect:
        from transfer import convert

        for line in convert.describe(args.source, args.branch, args.prefix, args.allow_pickle):
            print(line)
        return
    if args.out.is_dir() or args.out.resolve() == args.source.resolve():
        raise UserError(f"{args.out} is {'a folder' if args.out.is_dir() else 'the input itself'}: name another OUT.")

    from pretrain.runtime.files import sha256_of
    from transfer import convert
    from transfer.detection import require_detectron2
    from transfer.detection.modeling import verify

    destination = convert.DESTINATIONS[args.to]
    if args.out.suffix not in destination.endings:
        raise UserError(f"{args.out}: a file for {args.to} ends in {' or '.join(destination.endings)}; rename OUT.")
    if args.to == "detectron2":
        require_detectron2()
        library, stages_of_draft = "detectron2", verify.stages_of_file
    else:
        library, stages_of_draft = convert.loader_for(args.to)
    trunk = convert.read_trunk(args.source, args.branch, args.arch, args.prefix, args.allow_pickle)
    origin = convert.provenance_of(args.source, trunk)
    write = partial(destination.save, trunk_file=trunk, origin=origin)
    differences = convert.write_verified(args.out, trunk, write, stages_of_draft)
    print(f"{args.source}: {trunk.layout}, {trunk.arch}, {len(trunk.state)} tensors, sha256 {origin['sha256']}")
    if trunk.branch:
        also = f"; {trunk.other} is there too: --branch" if trunk.other else ""
        print(f"branch: {trunk.branch} ({trunk.called}){also}")
    print("left out: " + (", ".join(f"{group} ({count})" for group, count in trunk.left_out.items()) or "nothing"))
    for stage, difference in differences.items():
        print(f"{stage}: largest difference from the source {difference:.1e} (allowed {convert.TOLERANCE:.0e})")
    print(f"checked in {library}: {_input(args.to, *trunk.pixels)}, as {trunk.pixels_from}")
    print(f"wrote {args.out}, sha256 {sha256_of(args.out)}")


def _input(to: str, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """What the network wants to be fed, in the destination's words."""
    if to != "detectron2":
        return f"RGB in 0..1, mean {mean}, std {std}"
    scaled = [[round(255 * value, 3) for value in one] for one in (mean, std)]
    stride = "MODEL.RESNETS.STRIDE_IN_1X1 False"
    return f"INPUT.FORMAT RGB, {stride}, MODEL.PIXEL_MEAN {scaled[0]}, MODEL.PIXEL_STD {scaled[1]}"


if __name__ == "__main__":
    run_tool(main)
