"""Search for the best values of any options: python tools/sweep.py --config configs/sweep/balance.yaml --data ROOT ...

ROOT holds train/CLASS/ and val/CLASS/. DIR gets a run folder for each trial, sweep.journal (Optuna's, which holds
every trial), and what was found: sweep.md, sweep.csv and sweep.json, which tools/report.py draws. The same command
again goes on, whatever ended it before: a trial that ran continues from its checkpoint. On other machines that share
DIR, the same command helps. docs/sweeps.md says what the YAML holds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.data.site.standing_in import UNSET, labelled_root
from pretrain.runtime.errors import STOPPED, UserError, run_tool
from pretrain.runtime.options.arguments import Once, a_path
from pretrain.runtime.repository import spoken
from tools.launcher import schedulers
from tools.launcher.pipeline.processes import end_with_us

AT_ONCE = 8  # jobs of a cluster: more learn less from each other


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = root.add_argument
    add("--config", type=a_path, action=Once, required=True, metavar="YAML", help="the sweep, as in configs/sweep/")
    add("--data", type=a_path, metavar="ROOT", help=f"folder with train/CLASS/ and val/CLASS/; {UNSET}")
    add("--out", type=a_path, required=True, metavar="DIR", help="everything is written below it")
    add("--with", type=a_path, dest="setting", metavar="YAML", help="values over every row, as in configs/compare/")
    add("--rows", metavar="NAME,NAME", help="only these rows of the sweep (default: all)")
    add("--trials", type=int, metavar="N", help="of each row, at least 1; more than before go on (default: the YAML's)")
    schedulers.add_cluster(root, schedulers.HERE)
    add("--parallel", type=int, metavar="N", help=f"trials at once, at least 1 (default: 1 here, else {AT_ONCE})")
    add(
        "--launch",
        default="",
        metavar="'--OPTION ...'",
        help="options of tools/launch.py for every trial (default: none)",
    )
    add("--retry-failed", action="store_true", help="let trials that failed go on from their checkpoint (default off)")
    add("overrides", nargs="*", metavar="section.key=value", help="options of pretrain/config.py for every trial")
    return root


def main(argv: list[str] | None = None) -> None:
    """Check everything, go on with what was interrupted, run the rest, then print and write what was found."""
    args = parser().parse_intermixed_args(argv)
    args.data = labelled_root(args.data)
    from tools.trials.sweep import require_optuna

    require_optuna()
    from pretrain.runtime.devices.compile import shared_compiled
    from tools.trials.rows import PLACES, read_setting
    from tools.trials.sweep.definition import Base, make_searches, read_definition
    from tools.trials.sweep.loop import Loop, check_open
    from tools.trials.sweep.place import Place
    from tools.trials.sweep.storage import open_storage, open_studies, try_again
    from transfer.datasets.labelled import open_labelled

    read = read_definition(args.config, args.trials, args.rows)
    open_labelled(args.data)
    setting = read_setting(args.setting, read.folder, PLACES)
    base = Base(setting, tuple(args.overrides), args.data.resolve(), args.out)
    searches = make_searches(read, base)
    here = schedulers.find_scheduler(args.cluster).about.here
    place = Place(args.cluster, _words(args.launch), _parallel(args.parallel, here))
    place.require()
    place.planned(searches[0].plain, 0)
    storage = open_storage(args.out, read.plan.lock)
    studies = open_studies(storage, searches)
    check_open(searches, studies, place)
    if args.retry_failed:
        print(f"{sum(try_again(*pair) for pair in studies.items())} trial(s) that failed are tried again")
    loop = Loop(searches, studies, place)
    with shared_compiled(args.out):
        loop.run()
    _tell_end(loop.write(), args.out, loop.left)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"--launch {text} is no words of a shell ({str(error).lower()}): close its quotes.") from error


def _parallel(asked: int | None, here: bool) -> int:
    if asked is not None and asked < 1:
        raise UserError(f"--parallel {asked} is below 1: give how many trials may go on at the same time.")
    return asked or (1 if here else AT_ONCE)


def _tell_end(sweep: object, out: Path, left: dict[str, str]) -> None:
    """Print the best of every row, and where the rest is; the exit code tells of trials that failed or were stopped."""
    from tabulate import tabulate

    from transfer.report.collect.sweeps import FAILED, Sweep
    from transfer.report.render.sweeps import best_rows

    assert isinstance(sweep, Sweep)
    print("", tabulate(best_rows(sweep), headers="keys", disable_numparse=True), sep="\n")
    print(f"every trial: {out / 'sweep.md'}, {out / 'sweep.csv'}, {out / 'sweep.json'}")
    words = shlex.join([str(out), "--out", str(out / "report")])
    print(f"as a picture: {spoken('python tools/report.py')} {words}", flush=True)
    for name, why in left.items():
        print(f"{name} was {why}: the same command goes on with it", file=sys.stderr)
    if left:
        sys.exit(STOPPED)
    if any(trial.state == FAILED for trial in sweep.trials):
        sys.exit(1)


if __name__ == "__main__":
    end_with_us()
    run_tool(main)
