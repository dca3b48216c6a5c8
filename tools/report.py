"""Report on pretraining runs and downstream results. Usage: `python tools/report.py [RUN_DIR...] [--paper] --out DIR`.

With --paper, every table of the paper is in it, our rows below its own wherever protocol, data, network and recipe are
the same; all other numbers have a table of their own. Results measured under a protocol of the paper's Table 8 are also
printed.
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
    root = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    root.add_argument("folders", nargs="*", type=a_path, metavar="RUN_DIR", help="searched for runs and result files")
    root.add_argument(
        "--out", required=True, type=a_path, metavar="DIR", help="gets report.html, .md, .csv, .json, figures/"
    )
    root.add_argument("--paper", action="store_true", help="with every table of the paper, ours beside it")
    told = "show the curves of each run in its trackers too, as pictures"
    root.add_argument("--trackers", action="store_true", help=told)
    return root


def main(argv: list[str] | None = None) -> None:
    """Write the report, print our rows beside published ones, and say where it is."""
    args = parser().parse_intermixed_args(argv)
    from transfer.report.render.pages import to_markdown
    from transfer.report.sections.paper_tables import BESIDE, detection
    from transfer.report.write import collect_inputs, write

    data = collect_inputs(args.folders, args.out, args.paper)
    page, markdown = write(data, args.out)
    if blocks := list(detection(data)):
        print(to_markdown(BESIDE, blocks), end="\n\n")
    if args.trackers:
        from transfer.report.tracked import tell_curves

        print(f"curves in the trackers of: {', '.join(map(str, tell_curves(data.runs))) or 'no run'}")
    print(f"report: {page.resolve()}\nas Markdown: {markdown.resolve()}")


if __name__ == "__main__":
    run_tool(main)
