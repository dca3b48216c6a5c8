"""Write RUN/MODEL_CARD.md from a run folder. Usage: `python tools/model_card.py RUN [RESULTS...]`.

Data, recipe, provenance, results, licence and limits, each from a file of the run; results are looked for below RUN and
below the folders RESULTS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import run_tool
from pretrain.runtime.options.arguments import a_path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    root.add_argument("run", type=a_path, metavar="RUN", help="run folder of tools/pretrain.py, with export/trunk.pth")
    root.add_argument("results", nargs="*", type=a_path, metavar="RESULTS", help="folders with further results of it")
    return root


def main(argv: list[str] | None = None) -> None:
    """Write the card and say where it is."""
    args = parser().parse_intermixed_args(argv)
    from transfer.report.model_card import write_card

    print(f"model card: {write_card(args.run, args.results)}")


if __name__ == "__main__":
    run_tool(main)
