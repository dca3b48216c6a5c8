"""Train, evaluate and tabulate every row of a table under one setting, beside the paper's numbers.

python tools/compare.py --config configs/pretrain/table2 --with configs/compare/imagenette_cpu.yaml --data ROOT \\
    --out DIR [--seeds 0,1,2] [--rows e_unigrad,j_vicreg_l2] [--peers] [section.key=value ...]

ROOT holds train/CLASS/ and val/CLASS/. DIR gets a run folder for each row and seed, results/, logs/, table.md and
table.json. The same command again does what is missing. A row that fails stands in the table with its error.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.data.site.standing_in import UNSET, labelled_root
from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import Once, a_config, a_path
from pretrain.runtime.repository import spoken
from tools.launcher import schedulers
from tools.launcher.pipeline.processes import end_with_us


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = root.add_argument
    add(
        "--config",
        type=a_config,
        action=Once,
        required=True,
        metavar="FOLDER",
        help="of rows, such as configs/pretrain/table2",
    )
    add("--data", type=a_path, metavar="ROOT", help=f"folder with train/CLASS/ and val/CLASS/; {UNSET}")
    add("--out", type=a_path, required=True, metavar="DIR", help="everything is written below it")
    add(
        "--with",
        type=a_config,
        dest="setting",
        metavar="YAML",
        help="values put over every row, as in configs/compare/",
    )
    add("--seeds", default="0", help="whole numbers with commas (default 0)")
    add("--rows", metavar="NAME,NAME", help="only these files of --config (default: all)")
    add("--tasks", default="knn,linear", help="of tools/evaluate.py (default knn,linear)")
    add("--evaluate", default="", metavar="'KEY=VALUE ...'", help="options of tools/evaluate.py (default: views.size)")
    add("--peers", action="store_true", help="train each row by lightly's own modules and losses too, beside ours")
    schedulers.add_cluster(root, schedulers.HERE)
    add(
        "--parallel",
        type=int,
        metavar="N",
        help="runs at the same time, at least 1 (default: 1 here, else all)",
    )
    add("--gpus", type=int, metavar="G", help="GPUs of a run, at least 0 (default: all here, else 8; evaluation: 1)")
    add("overrides", nargs="*", metavar="section.key=value", help="options of pretrain/config.py for every row")
    return root


def main(argv: list[str] | None = None) -> None:
    """Check everything, train what is not trained, evaluate what is not evaluated, then print and write the table."""
    args = parser().parse_intermixed_args(argv)
    args.data = labelled_root(args.data)
    from tools.trials.comparison import jobs, table
    from tools.trials.comparison.trials import OURS, make_trials, with_peers
    from tools.trials.rows import find_rows, read_setting
    from transfer.datasets.labelled import open_labelled

    if args.parallel is not None and args.parallel < 1:
        raise UserError(f"--parallel {args.parallel} is below 1: give how many runs may go on at the same time.")
    seeds, given = _seeds(args.seeds), shlex.split(args.evaluate)
    tasks = _tasks(args.tasks, given)
    paths = find_rows(args.config, args.rows)
    data = open_labelled(args.data)
    setting = read_setting(args.setting, args.config, OURS)
    trials = make_trials(paths, setting, args.overrides, args.data, args.out, seeds)
    trials = with_peers(trials) if args.peers else trials
    schedulers.find_scheduler(args.cluster).require()
    place = jobs.Runner(args.cluster, args.parallel, args.gpus, args.out)
    errors = place.run([jobs.Training(trial) for trial in trials if not trial.finished()])
    trunks = {trial.name: (trial.trunk, trial) for trial in trials if trial.finished()}
    for trial in trials:
        if trial.initial.is_file():  # the same network in every row of a seed
            trunks.setdefault(table.untrained(trial.seed), (trial.initial, trial))
    measured = [jobs.evaluation_of(name, *of, place, args.data, tasks, given) for name, of in trunks.items()]
    errors |= place.run([job for job in measured if job.missing()])
    files = {job.name: list(job.results.values()) for job in measured if not job.missing()}
    images = f"{len(data.train)} images of {data.name}, measured on its {len(data.val)} of val"
    text = table.write(args.out, table.lines(trials, files, errors, args.out), table.sentence(trials, images))
    print(f"\n{text}\nthe same as files: {args.out / 'table.md'}, {args.out / table.TABLE}")
    print(f"Figures 2 and 3: {_report_words(args.out)}", flush=True)
    if errors:
        sys.exit(1)


def _report_words(out: Path) -> str:
    """The command of a report on `out`, as a shell takes it."""
    return f"{spoken('python tools/report.py')} {shlex.join([str(out), '--out', str(out / 'report')])}"


def _seeds(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError as error:
        raise UserError(f"--seeds {text} has to be whole numbers with commas between them, such as 0,1,2.") from error


def _tasks(text: str, given: list[str]) -> list[str]:
    """The chosen tasks; the options that all of them get are checked, but for what only the machine can tell."""
    from transfer.evaluate import choose

    tasks = list(dict.fromkeys(text.split(",")))
    for task in tasks:
        choose(task, None, given, what="--tasks:")
    return tasks


if __name__ == "__main__":
    end_with_us()
    run_tool(main)
