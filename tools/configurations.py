"""List the configurations that came with this code: python tools/configurations.py [FOLDER] [--to DIR].

A configuration is found by its name, such as configs/pretrain/demo.yaml, from any folder. --to copies them, to be
edited.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from pretrain.runtime.options.arguments import a_path
from pretrain.runtime.repository import CONFIGS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(description=__doc__, formatter_class=form, allow_abbrev=False)
    only = f"only what is below this, such as {CONFIGS}/pretrain (default: all)"
    root.add_argument("folder", nargs="?", type=Path, default=Path(CONFIGS), metavar="FOLDER", help=only)
    root.add_argument("--to", type=a_path, metavar="DIR", help="copy them into DIR, which must not hold any of them")
    return root


def main(argv: list[str] | None = None) -> None:
    """Print each with the first sentence of its header, or copy all."""
    args = parser().parse_args(argv)
    from tools.commands import configurations

    if args.to:
        print(f"{configurations.copy(args.folder, args.to)} configurations: {args.to.resolve()}")
    else:
        print(configurations.listed(args.folder))


if __name__ == "__main__":
    run_tool(main)
