"""Judge the paper's claims by kept comparisons: python tools/evidence.py [--keep NAME=DIR] [--add NAME=DIR].

--keep copies the table of a tools/compare.py --out DIR to docs/results/evidence/NAME.json, and what a tools/sweep.py
--out DIR found to docs/results/evidence/sweeps/NAME.json. Of a DIR with a tools/train_detection.py --trials N --out
DIR/ROW for each row it makes a table of the rows. --add puts the seeds of another tools/compare.py --out DIR beside
those of a kept table. Then docs/evidence.md is made of all that is kept, with its figures. Claims and what their
verdicts say are in docs/results/evidence/topics/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import a_path

DOCS = Path("docs")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(description=__doc__, formatter_class=form, allow_abbrev=False)
    add = root.add_argument
    add("--keep", action="append", default=[], metavar="NAME=DIR", help="keep what DIR holds; repeatable")
    add("--add", action="append", default=[], metavar="NAME=DIR", help="add the seeds of DIR to NAME; repeatable")
    add(
        "--docs", type=a_path, default=DOCS, metavar="DIR", help=f"folder of the page and what is kept (default {DOCS})"
    )
    return root


def main(argv: list[str] | None = None) -> None:
    """Keep what is asked for, then make the page."""
    args = parser().parse_args(argv)
    from tools.trials.evidence import kept, kept_sweeps, kept_trials, page, topics

    folder = args.docs / "results" / "evidence"
    for name, out in _named("--keep", args.keep):
        kind = next((kind for kind in (kept_sweeps, kept_trials) if kind.holds(out)), kept)
        print(f"kept: {kind.keep(out, folder, name)}")
    for name, out in _named("--add", args.add):
        print(f"added to: {kept.add(out, folder, name)}")
    sweeps = kept_sweeps.kept_sweeps(folder)
    made = page.write_page(
        kept.all_kept(folder), sweeps, topics.read_topics(folder), args.docs / "evidence.md", args.docs / "figures"
    )
    print(f"page: {made}")


def _named(option: str, asked: Sequence[str]) -> list[tuple[str, Path]]:
    """The names and folders of an option's NAME=DIR."""
    pairs = []
    for words in asked:
        name, colon, out = words.partition("=")
        if not colon or not name.isidentifier():
            raise UserError(
                f"{option} {words} is not of the form NAME=DIR with a plain name, such as table3=runs/table3."
            )
        pairs.append((name, Path(out)))
    return pairs


if __name__ == "__main__":
    run_tool(main)
