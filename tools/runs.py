"""Look over runs and tidy up: python tools/runs.py list|show|best|diff|rm FOLDER...

All is read from the run folders as they are now; nothing is kept elsewhere. A folder that is half written is shown as
that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import a_path

FORMATS = ("table", "json", "csv")
COMMANDS = {
    "list": "state, method, data, epochs, k-NN, linear, size on disk and checkpoint of every run",
    "show": "one run: the same, its options that are not at their defaults, its results",
    "best": "of each data set and protocol the run with the highest number",
    "diff": "what two runs differ in: configuration, code, numbers",
    "rm": "remove run folders; refuses a run in progress, and what is no run",
}


def parser() -> argparse.ArgumentParser:
    """One subcommand for each of COMMANDS."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = root.add_subparsers(dest="command", required=True)
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, help=told, description=told, allow_abbrev=False)
        counts = {"show": 1, "diff": 2}
        several = "folder of a run" if name in ("show", "diff", "rm") else "searched for runs"
        command.add_argument("folders", nargs=counts.get(name, "+"), type=a_path, metavar="FOLDER", help=several)
        if name == "rm":
            command.add_argument("--yes", action="store_true", help="do not ask (default: ask)")
        else:
            command.add_argument(
                "--format", choices=FORMATS, default="table", help="of what is printed (default table)"
            )
        if name == "best":
            told = "knn, linear, or any metric of metrics.jsonl that is better where it is higher (default knn)"
            command.add_argument("--by", default="knn", metavar="METRIC", help=told)
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse, read, print or remove."""
    args = parser().parse_args(argv)
    from tools.run_folders import differences, removal, tables
    from tools.run_folders.overview import best, not_at_defaults, of_folder, overviews

    if args.command == "rm":
        removal.remove(removal.check(args.folders), args.yes)
    elif args.command == "list":
        print(tables.of_runs(overviews(args.folders), args.format))
    elif args.command == "best":
        print(tables.of_best(best(overviews(args.folders), args.by), args.format))
    elif args.command == "show":
        one = of_folder(args.folders[0])
        print(tables.of_one(one, not_at_defaults(one), args.format))
    else:
        first, second = map(of_folder, args.folders)
        if first.folder == second.folder:
            raise UserError(f"{args.folders[0]} and {args.folders[1]} are the same folder: name two.")
        names = [str(folder) for folder in args.folders]
        print(tables.of_differences(differences.differences(first, second), names, args.format))


if __name__ == "__main__":
    run_tool(main)
