"""Evaluate a trunk: python tools/evaluate.py knn --checkpoint FILE --data ROOT --out RESULT.json [key=value ...].

ROOT holds train/CLASS/ and val/CLASS/, or the public data sets that sets=[...] names; of several, --out holds
{set}. Several evaluators at once, such as knn,linear, share frozen features; --out then holds {task}. FILE may be a
folder of checkpoints, such as RUN/export, or a pattern, such as 'RUN/export/epoch_*.pth'; --out then holds
{checkpoint}, each one's name without its ending, or {run}, its run folder's.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.data.site.standing_in import UNSET, labelled_root
from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.files import natural_key
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_config, a_path, expanded
from transfer.datasets.benchmark import Benchmark


def checkpoints(given: Path) -> list[Path]:
    """The checkpoints that a file, a folder or a pattern names, epoch_0009 before epoch_0010.

    Raises:
        UserError: a folder without a checkpoint, a pattern that no file fits, or a name that the hub does not have.
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
        from pretrain.weights.hub.fetch import fetched

        return [fetched(given)]
    return sorted(found, key=lambda path: natural_key(str(path)))


def destinations(
    names: list[str], checkpoints: list[Path], sets: list[str], out: str
) -> dict[tuple[Path, str, str], Path]:
    """Where the result of each checkpoint, evaluator and data set goes; the folders are made, so nothing fails later.

    Args:
        names: of evaluators.
        checkpoints: their files.
        sets: public data sets, "" for own folders.
        out: as it was typed, with {task}, {checkpoint}, {run} and {set}.

    Raises:
        UserError: an unknown evaluator, one file for several, or a place that cannot be written.
    """
    from transfer.evaluators import find_evaluator

    for name in names:
        find_evaluator(name)
    if len(set(names)) > 1 and "{task}" not in out:
        raise UserError(f"--out {out} is one file for {len(names)} tasks: put {{task}} in its name.")
    if len(sets) > 1 and "{set}" not in out:
        raise UserError(f"--out {out} is one file for {len(sets)} data sets: put {{set}} in its name.")
    paths, taken = {}, dict[Path, tuple[Path, str, str]]()
    for checkpoint, name, data in itertools.product(checkpoints, dict.fromkeys(names), sets):
        run = checkpoint.resolve().parents[1].name if len(checkpoint.resolve().parents) > 1 else ""
        filled = out.replace("{task}", name).replace("{checkpoint}", checkpoint.stem).replace("{run}", run)
        path = paths[checkpoint, name, data] = Path(filled.replace("{set}", data or "own"))
        if (first := taken.setdefault(path, (checkpoint, name, data))) != (checkpoint, name, data):
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


def sets_of(config: Path | None, overrides: list[str]) -> list[str]:
    """The public data sets that are asked for, "" for own folders."""
    from transfer.evaluators import evaluators
    from transfer.options import asked_sets

    return asked_sets([entry.options for entry in evaluators().values()], config, overrides)


def options() -> dict[str, type]:
    """The options by the heading under which --help lists them; torch is not needed."""
    from transfer.evaluators import evaluators
    from transfer.options import Common

    return {
        "options of every evaluator": Common,
        **{f"options of {name}": entry.options for name, entry in evaluators().items()},
    }


def set_line(benchmark: Benchmark) -> str:
    """A public data set in one line."""
    counts = ", ".join(f"{count:,} {split}" for split, count in benchmark.counts.items() if count)
    told = f"{benchmark.title}: {benchmark.classes} classes, {counts}" if counts else "train, val and test of your own"
    return f"{told}; {benchmark.metric}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from transfer.analysis import readings
    from transfer.datasets.benchmarks import benchmarks
    from transfer.evaluators import evaluators

    lists = {
        "evaluators": {name: entry.summary for name, entry in evaluators().items()},
        "readings, of the evaluator of that name": {name: entry.shows for name, entry in readings().items()},
        "public data sets, for sets=[...]": {name: set_line(entry) for name, entry in benchmarks().items()},
    }
    width = 2 + max(len(name) for known in lists.values() for name in known)
    words = [
        f"{head}:\n" + "\n".join(f"  {name:{width}}{text}" for name, text in known.items())
        for head, known in lists.items()
    ]
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(
        description="\n\n".join([__doc__, *words]), formatter_class=form, add_help=False, allow_abbrev=False
    )
    root.add_argument("tasks", help="an evaluator, or several with commas")
    told = "a checkpoint or export of pretraining, a folder of them, a pattern, or hf:USER/NAME on the hub"
    root.add_argument("--checkpoint", type=a_path, required=True, help=told)
    told = f"folder with train/CLASS/ and val/CLASS/, or of data sets; {UNSET}"
    root.add_argument("--data", type=a_path, metavar="ROOT", help=told)
    root.add_argument("--out", type=expanded, required=True, help="JSON file to write")
    root.add_argument(
        "--config", type=a_config, action=Once, help="YAML of options, such as one under configs/finetune/"
    )
    root.add_argument("overrides", nargs="*", metavar="key=value", help="options, as listed below")
    add_help(root, options)
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, evaluate, print a line for each result and write it as JSON."""
    args = parser().parse_intermixed_args(argv)
    args.data = labelled_root(args.data)
    names = args.tasks.split(",")
    of = checkpoints(args.checkpoint)
    paths = destinations(names, of, sets_of(args.config, args.overrides), args.out)

    from pretrain.runtime import distributed
    from transfer import evaluate, results
    from transfer.tracked import tell_results

    for (checkpoint, *_), path in paths.items():
        results.check_same(path, args.checkpoint, checkpoint)

    told, done = "", dict[Path, results.Result]()
    try:
        with distributed.departure_told():
            for path, result in evaluate.evaluate(
                names, evaluate.distinct(of), args.data, args.config, args.overrides, paths
            ):
                if distributed.rank() > 0:
                    continue
                results.save(path, result)
                done[path] = result
                if told != (told := f"{evaluate.line(result)}\nresult: {path}"):  # once more with its pictures
                    print(told, flush=True)
    finally:
        tell_results(done)


if __name__ == "__main__":
    run_tool(main)
