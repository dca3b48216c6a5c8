"""Evaluate a trunk: python tools/evaluate.py knn --checkpoint FILE --data ROOT --out RESULT.json [key=value ...].

ROOT holds train/CLASS/ and val/CLASS/. Several evaluators at once, such as knn,linear, share frozen features; --out
then holds {task}. FILE may be a folder of checkpoints, such as RUN/export, or a pattern, such as
'RUN/export/epoch_*.pth'; --out then holds {checkpoint}, each one's name without its ending, or {run}, its run folder's.
"""

from __future__ import annotations

import argparse
import glob
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.files import natural_key
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_path, expanded


def checkpoints(given: Path) -> list[Path]:
    """The checkpoints that a file, a folder or a pattern names, epoch_0009 before epoch_0010.

    Raises:
        UserError: a folder without a checkpoint, or a pattern that no file fits.
    """
    if given.is_dir():
        found = [path for path in given.iterdir() if path.suffix == ".pth" and not path.name.startswith(".")]
        if not found:
            raise UserError(f"{given} holds no checkpoint (*.pth): give a file, or a folder such as RUN/export.")
    elif glob.has_magic(str(given)) and not given.exists():
        found = [path for path in map(Path, glob.glob(str(given), recursive=True)) if path.is_file()]
        if not found:
            raise UserError(f"no file fits --checkpoint '{given}': look with `ls {given}`.")
    else:
        return [given]
    return sorted(found, key=lambda path: natural_key(str(path)))


def destinations(names: list[str], checkpoints: list[Path], out: str) -> dict[tuple[Path, str], Path]:
    """Where the result of each checkpoint and evaluator goes; the folders are made, so that nothing fails afterwards.

    Raises:
        UserError: an unknown evaluator, one file for several, or a place that cannot be written.
    """
    from transfer.evaluators import find_evaluator

    for name in names:
        find_evaluator(name)
    if len(set(names)) > 1 and "{task}" not in out:
        raise UserError(f"--out {out} is one file for {len(names)} tasks: put {{task}} in its name.")
    paths, taken = {}, dict[Path, tuple[Path, str]]()
    for checkpoint, name in ((one, name) for one in checkpoints for name in dict.fromkeys(names)):
        run = checkpoint.resolve().parents[1].name if len(checkpoint.resolve().parents) > 1 else ""
        filled = out.replace("{task}", name).replace("{checkpoint}", checkpoint.stem).replace("{run}", run)
        path = paths[checkpoint, name] = Path(filled)
        if (first := taken.setdefault(path, (checkpoint, name))) != (checkpoint, name):
            raise UserError(
                f"--out {out} is one file for {first[0]} and {checkpoint}: put {{checkpoint}} in its name, and {{run}} "
                "where they are of several runs."
            )
    for path in taken:
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
    told = "a checkpoint or export of pretraining, a folder of them, or a pattern"
    root.add_argument("--checkpoint", type=a_path, required=True, help=told)
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
    of = checkpoints(args.checkpoint)
    paths = destinations(names, of, args.out)

    from pretrain.runtime import distributed
    from transfer import evaluate, results

    told = ""
    for path, result in evaluate.evaluate(names, evaluate.distinct(of), args.data, args.config, args.overrides, paths):
        if distributed.rank() > 0:
            continue
        results.save(path, result)
        if told != (told := f"{evaluate.line(result)}\nresult: {path}"):  # once more with its pictures
            print(told, flush=True)


if __name__ == "__main__":
    run_tool(main)
