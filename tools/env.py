"""Say what this machine runs the code with, as a report of a bug wants it: python tools/env.py [--json]."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    root.add_argument("--json", action="store_true", help="print JSON (default: a line a fact)")
    return root


def main(argv: list[str] | None = None) -> None:
    """Print versions of everything, GPUs and compiled operators."""
    args = parser().parse_args(argv)
    from tools.commands.environment import facts, text

    told = facts()
    print(json.dumps(told, indent=2) if args.json else text(told))


if __name__ == "__main__":
    run_tool(main)
