"""Write features of images: python tools/embed.py --checkpoint FILE --data ROOT --out FEATURES.npy [key=value ...].

FILE is any checkpoint that tools/convert.py reads, ROOT any source of images, with or without labels. The same command
again goes on where it was interrupted; under `torchrun --nproc-per-node N` N processes share the work.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.data.site.standing_in import UNSET, images_root
from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_path, expanded


def options() -> dict[str, type]:
    """The options by the heading under which --help lists them; torch is not needed."""
    from transfer.options import Common

    return {"options of reading and computing": Common}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from transfer.embed.formats import formats
    from transfer.embed.maps import maps

    lists = {
        "endings of --out": {ending: one.about for ending, one in formats().items()},
        "maps": {name: one.about for name, one in maps().items()},
    }
    words = [
        f"{head}:\n" + "\n".join(f"  {name:12}{text}" for name, text in known.items()) for head, known in lists.items()
    ]
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(
        description="\n\n".join([str(__doc__), *words]), formatter_class=form, add_help=False, allow_abbrev=False
    )
    root.add_argument(
        "--checkpoint",
        type=a_path,
        action=Once,
        required=True,
        help="whose features are wanted, a file or hf:USER/NAME on the hub",
    )
    root.add_argument("--data", type=expanded, action=Once, help=f"images, of any kind of source; {UNSET}")
    root.add_argument("--out", type=a_path, action=Once, required=True, help="the file to write, by its ending")
    told = "of a training checkpoint: the branch that learns or the one that follows (default: what its project takes)"
    root.add_argument("--branch", choices=("online", "target"), help=told)
    told = "also draw a map in two dimensions, FEATURES-MAP.png, and write the places beside the names (default: none)"
    root.add_argument("--map", choices=tuple(maps()), help=told)
    root.add_argument("--map-images", type=int, default=5000, help="images on the map at most (default: %(default)s)")
    root.add_argument("overrides", nargs="*", metavar="key=value", help="options, as listed below")
    add_help(root, options)
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, compute, and say what was written."""
    args = parser().parse_intermixed_args(argv)
    if args.map_images < 5:
        raise UserError(f"--map-images {args.map_images} is below 5: give more, or leave --map out.")

    from pretrain.runtime import distributed
    from transfer.embed.run import Request, embed

    data = images_root(args.data)
    asked = Request(args.checkpoint, data, args.out, args.branch, args.map, args.map_images, args.overrides)
    with distributed.departure_told():
        written = embed(asked)
    for path in written:
        print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    run_tool(main)
