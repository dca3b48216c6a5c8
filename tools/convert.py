"""Convert a pretrained trunk: python tools/convert.py runs/demo/export/trunk.pth trunk.pkl --to detectron2.

With --inspect, say what a file is instead: python tools/convert.py checkpoint.pth --inspect.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import a_path
from transfer.convert.destinations import DESTINATIONS

if TYPE_CHECKING:
    from pretrain.weights.trunk import TrunkFile


def parser() -> argparse.ArgumentParser:
    """The command line; `source` and `out` are paths."""
    destinations = [f"  {name} ({', '.join(one.endings)}): {one.help}" for name, one in DESTINATIONS.items()]
    root = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(["destinations, and the endings of their files:", *destinations]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    told = "a checkpoint of a layout in pretrain/weights/layouts, or hf:USER/NAME on the hub"
    root.add_argument("source", type=a_path, metavar="IN", help=told)
    root.add_argument("out", type=a_path, metavar="OUT", nargs="?", help="the file to write; needed without --inspect")
    root.add_argument(
        "--to",
        choices=DESTINATIONS,
        help="the library to write for, listed below; needed without --inspect (default: none)",
    )
    root.add_argument("--inspect", action="store_true", help="say what IN is and write nothing (default: off)")
    root.add_argument(
        "--branch",
        choices=("online", "target"),
        help="of a training checkpoint: the branch that learns, or the momentum, teacher or averaged one that follows "
        "it (default: the one that its project evaluates)",
    )
    root.add_argument(
        "--arch", help="torchvision's name of the network that IN must hold, or timm/NAME (default: any ResNet)"
    )
    root.add_argument(
        "--prefix", help="what the trunk's names begin with, for a file of no known layout (default: a known layout)"
    )
    root.add_argument(
        "--allow-pickle",
        metavar="SHA256",
        help="dangerous: let Python build any object that IN names, which can run any code; the 64 hexadecimal digits "
        "of its SHA-256 show that you mean this file (default: such files are refused)",
    )
    return root


def main(argv: list[str] | None = None) -> None:
    """Read, check, write a draft, compare its features with the source's, and only then put it at OUT."""
    root = parser()
    args = root.parse_intermixed_args(argv)
    if not args.inspect and not (args.out and args.to):
        root.error("OUT and --to are needed, or --inspect")

    from pretrain.weights.hub.fetch import fetched

    args.source = fetched(args.source)
    if args.inspect:
        from transfer.convert.inspect_file import describe_file

        for line in describe_file(args.source, args.branch, args.arch, args.prefix, args.allow_pickle):
            print(line)
        return
    if args.out.is_dir() or args.out.resolve() == args.source.resolve():
        raise UserError(f"{args.out} is {'a folder' if args.out.is_dir() else 'the input itself'}: name another OUT.")
    destination = DESTINATIONS[args.to]
    if args.out.suffix not in destination.endings:
        raise UserError(f"{args.out}: a file for {args.to} ends in {' or '.join(destination.endings)}; rename OUT.")

    from pretrain.runtime.files import sha256_of
    from pretrain.runtime.printable import printable
    from pretrain.weights.read_trunk import read_trunk
    from transfer.convert.peers import peer_of
    from transfer.convert.verify import TOLERANCE, write_verified
    from transfer.convert.write import provenance_of

    verifier = destination.ready_verifier()
    trunk = read_trunk(args.source, args.branch, args.arch, args.prefix, args.allow_pickle)
    destination.require(trunk, args.source)
    origin = provenance_of(args.source, trunk)
    differences = write_verified(args.out, trunk, lambda path: destination.write(path, trunk, origin), verifier.stages)
    print(
        f"{printable(str(args.source))}: {trunk.layout}, {trunk.arch}, {len(trunk.state)} tensors, "
        f"sha256 {origin['sha256']}"
    )
    _print_choices(trunk)
    print(f"compared with the source in {peer_of(trunk).library}")
    for stage, difference in differences.items():
        print(f"{stage}: largest difference from the source {difference:.1e} (allowed {TOLERANCE:.0e})")
    print(f"checked in {verifier.library}: {destination.describe_input(*trunk.pixels)}, as {trunk.pixels_from}")
    print(f"wrote {args.out}, sha256 {sha256_of(args.out)}")


def _print_choices(trunk: TrunkFile) -> None:
    """The branch that was taken, and what was left out."""
    if trunk.branch:
        also = f"; {trunk.other} is there too: --branch" if trunk.other else ""
        print(f"branch: {trunk.branch} ({trunk.called}){also}")
    print("left out: " + (", ".join(f"{group} ({count})" for group, count in trunk.left_out.items()) or "nothing"))


if __name__ == "__main__":
    run_tool(main)
