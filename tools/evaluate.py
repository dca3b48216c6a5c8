"""Evaluate a trunk: python tools/evaluate.py knn --checkpoint FILE --data ROOT --out RESULT.json [key=value ...].

ROOT holds train/CLASS/ and val/CLASS/. Several evaluators at once, such as knn,linear, share frozen features; --out
then holds {task}.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_path, expanded


def destinations(names: list[str], out: str) -> dict[str, Path]:
    """Where each evaluator's result goes; the folders are made, so that nothing fails after the work is done.

    Raises:
        UserError: an unknown evaluator, one file for several, or a place that cannot be written.
    """
    from transfer.evaluators import find_evaluator

    for name in names:
        find_evaluator(name)
    if len(set(names)) > 1 and "{task}" not in out:
        raise UserError(f"--out {out} is one file for {len(names)} tasks: put {{task}} in its name.")
    paths = {name: Path(out.replace("{task}", name)) for name in names}
    for path in paths.values():
        if path.is_dir():
            raise UserError(f"--out {path} is a folder: give the name of a JSON file in it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder of --out {path} cannot be made: {error}.") from error
    return paths


def options() -> dict[str, type]:
    """The options by the heading under which --help lists them; torch is not needed."""
    from transfer.evaluators import evaluators
    from transfer.options import Common

    return {
        "options of every evaluator": Common,
        **{f"options of {name}": entry.options for name, entry in evaluators().items()},
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from transfer.analysis import readings
    from transfer.evaluators import evaluators

    lists = {
        "evaluators": {name: entry.summary for name, entry in evaluators().items()},
        "readings, of the evaluator of that name": {name: entry.shows for name, entry in readings().items()},
    }
    words = [
        f"{head}:\n" + "\n".join(f"  {name:12}{text}" for name, text in known.items()) for head, known in lists.items()
    ]
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(
        description="\n\n".join([__doc__, *words]), formatter_class=form, add_help=False, allow_abbrev=False
    )
    root.add_argument("tasks", help="an evaluator, or several with commas")
    root.add_argument("--checkpoint", type=a_path, required=True, help="a checkpoint or export of pretraining")
    root.add_argument("--data", type=a_path, required=True, help="folder with train/CLASS/ and val/CLASS/")
    root.add_argument("--out", type=expanded, required=True, help="JSON file to write")
    root.add_argument("--config", type=a_path, action=Once, help="YAML of options, such as one under configs/finetune/")
    root.add_argument("overrides", nargs="*", metavar="key=value", help="options, as listed below")
    add_help(root, options)
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, evaluate, print a line for each result and write it as JSON."""
    args = parser().parse_intermixed_args(argv)
    names = args.tasks.split(",")
    paths = destinations(names, args.out)

    from pretrain.runtime import distributed
    from transfer import evaluate, results

    told = ""
    for result in evaluate.evaluate(names, args.checkpoint, args.data, args.config, args.overrides, paths):
        if distributed.rank() > 0:
            continue
        results.save(paths[result.task], result)
        if told != (told := f"{evaluate.line(result)}\nresult: {paths[result.task]}"):  # once more with its pictures
            print(told, flush=True)


if __name__ == "__main__":
    run_tool(main)
