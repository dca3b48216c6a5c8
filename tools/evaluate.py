"""Evaluate a trunk: python tools/evaluate.py knn --checkpoint FILE --data ROOT --out RESULT.json [key=value ...].

Tasks: knn, linear, readings (few-shot, per class, retrieval, RankMe, robustness, pictures) of frozen features; semi,
fine-tuning on few labels (image_list=FILE or fraction=0.01). ROOT holds train/CLASS/ and val/CLASS/. Several tasks at
once, such as knn,linear, share features; --out then holds {task}.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool

TASKS = ("knn", "linear", "semi", "readings")


def destinations(tasks: list[str], out: str) -> dict[str, Path]:
    """Where each task's result goes; the folders are made, so that nothing fails after the work is done.

    Raises:
        UserError: an unknown task, one file for several tasks, or a place that cannot be written.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise UserError(f"task '{unknown[0]}' is not known: choose among {', '.join(TASKS)}, or several as knn,linear.")
    if len(set(tasks)) > 1 and "{task}" not in out:
        raise UserError(f"--out {out} is one file for {len(tasks)} tasks: put {{task}} in its name.")
    paths = {task: Path(out.replace("{task}", task)) for task in tasks}
    for path in paths.values():
        if path.is_dir():
            raise UserError(f"--out {path} is a folder: give the name of a JSON file in it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder of --out {path} cannot be made: {error}.") from error
    return paths


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, evaluate, print a line for each result and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", help="knn, linear, readings or semi, or several with commas")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint or export of pretraining")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/CLASS/ and val/CLASS/")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--config", type=Path, help="YAML of options, such as one under configs/finetune/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="options of transfer/evaluate.py, finetune.py"
    )
    args = parser.parse_intermixed_args(argv)
    tasks = args.tasks.split(",")
    paths = destinations(tasks, args.out)

    from pretrain.runtime import distributed
    from transfer import evaluate, results

    given = (args.checkpoint, args.data, args.config, args.overrides, paths.get("readings"))
    for result in evaluate.evaluate(tasks, *given):
        if distributed.rank() > 0:
            continue
        results.save(paths[result.task], result)
        print(f"{evaluate.line(result)}\nresult: {paths[result.task]}", flush=True)


if __name__ == "__main__":
    run_tool(main)
