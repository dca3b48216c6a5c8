"""Run all stages of one YAML: python tools/launch.py pipeline --config configs/demo.yaml [variable=value] [...].

Here (--cluster local) the stages run one after the other. On SLURM all are submitted at once, as jobs that wait for
those they need, a stage with `for` as one array. Either way a stage that ended well with the same arguments and
configuration is not done again. tools/launcher/pipeline/spec.py says what the YAML holds. Every command can be copied.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.files import write_text
from tools.launcher import snapshot
from tools.launcher.pipeline import processes, slurm_dag
from tools.launcher.pipeline.spec import Stage, read, without
from tools.launcher.plan import OPTIONS


def main(argv: list[str] | None = None) -> None:
    """Read, check, then print (--dry-run) or run the stages."""
    parser = argparse.ArgumentParser(
        prog="launch.py pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, type=Path, help="the pipeline's YAML")
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm", help="SLURM (default) or here")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the commands only")
    parser.add_argument("--again", action="store_true", help="do also what ended well before")
    parser.add_argument("--without", action="append", default=[], metavar="STAGE", help="leave a stage out, repeatable")
    for name in OPTIONS:
        parser.add_argument(f"--{name}", help="as in sbatch, for every stage that does not say its own")
    parser.add_argument("overrides", nargs="*", metavar="variable=value", help="replace a value of 'variables'")
    args = parser.parse_args(argv)
    common = {name: value for name in OPTIONS if (value := getattr(args, name))}
    out, found = read(args.config, args.overrides, args.cluster, common)
    found = without(found, args.without)
    if args.dry_run:
        for stage in found:
            for command in stage.commands:
                print(shlex.join(command.words))
        return
    if args.cluster == "slurm":
        return slurm_dag.submit(found, out, args.again, argv)
    _run_here(found, args.again)


def _run_here(found: Sequence[Stage], again: bool) -> None:
    total, done, fresh = sum(len(stage.commands) for stage in found), 0, set()
    for stage in found:
        marks = {command: _mark(command) for command in stage.commands}
        if again or fresh & set(stage.after):
            waiting = list(stage.commands)
        else:
            waiting = [command for command, (mark, settings) in marks.items() if _read(mark) != settings]
        for command in stage.commands:
            if command not in waiting:
                done += 1
                print(f"[{done}/{total}] {command.name}: done before (--again repeats it)", flush=True)
        for command in waiting:
            marks[command][0].unlink(missing_ok=True)
        fresh |= {stage.name} if waiting else set()
        for command in processes.run(waiting, max(1, min(stage.parallel, len(waiting))), stage.tasks, done, total):
            write_text(*marks[command])
        done += len(waiting)
    print(found[-1].commands[-1].log.read_text(), end="")


def _mark(command: processes.Command) -> tuple[Path, str]:
    """The file that says that a command ended well, and what it then holds."""
    return command.log.with_suffix(".done"), snapshot.settings_of([command.words], os.getcwd())


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
