"""Run all stages of one YAML: python tools/launch.py pipeline --config configs/demo.yaml [variable=value] [...].

With a scheduler that has a queue (SLURM) all stages are submitted at once, as jobs that wait for those they need, a
stage with `for` as one array. With any other (--cluster local) the stages run one after the other, and this command
ends with the last. Either way a stage that ended well with the same arguments and configuration is not done again.
tools/launcher/pipeline/spec.py says what the YAML holds. Every command can be copied.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pretrain.runtime.files import write_text
from pretrain.runtime.options.arguments import Once, a_config, a_path, program
from tools.launcher import cli, schedulers, snapshot
from tools.launcher.pipeline import dependent_jobs, here, processes
from tools.launcher.pipeline.spec import OWN_OPTIONS, Stage, read_pipeline, without
from tools.launcher.site import site_file


def parser() -> argparse.ArgumentParser:
    """The command line of a pipeline."""
    root = argparse.ArgumentParser(
        prog=f"{program('launch')} pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, own = root.add_argument, schedulers.own_options()
    add(
        "--config",
        required=True,
        type=a_config,
        action=Once,
        metavar="YAML",
        help="the pipeline, such as configs/demo.yaml",
    )
    schedulers.add_cluster(root, schedulers.DEFAULT)
    add("--site", type=a_path, action=Once, metavar="YAML", help=cli.SITE)
    add("--dry-run", action="store_true", help="check everything and print the commands only (default off)")
    add("--again", action="store_true", help="do also what ended well before (default off)")
    add("--without", action="append", default=[], metavar="STAGE", help="leave a stage out, repeatable (default: none)")
    for name in OWN_OPTIONS:
        add(f"--{name}", metavar=own[name].metavar, help=f"{own[name].help}; a stage's own goes first")
    add("overrides", nargs="*", metavar="variable=value", help="replace a value of 'variables'")
    return root


def main(argv: list[str] | None = None) -> None:
    """Read, check, then print (--dry-run) or run the stages."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_intermixed_args(argv)
    if args.site:
        os.environ[site_file.VARIABLE] = str(args.site)  # for every stage, here and in the processes that stages start
    common = {name: value for name in OWN_OPTIONS if (value := getattr(args, name.replace("-", "_")))}
    out, stages = read_pipeline(args.config, args.overrides, args.cluster, common)
    stages = without(stages, args.without)
    if args.dry_run:
        for stage in stages:
            for command in stage.commands:
                print(shlex.join(command.words))
    elif schedulers.find_scheduler(args.cluster).queue is not None:
        dependent_jobs.submit_stages(stages, out, args.cluster, args.again, argv)
    else:
        marks = {command: _mark(command) for stage in stages for command in stage.commands}
        with here.telling(out, dependent_jobs.FILE, argv, marks):
            _run_here(stages, args.again, marks)


def _run_here(stages: Sequence[Stage], again: bool, marks: Mapping[processes.Command, tuple[Path, str]]) -> None:
    total, done = sum(len(stage.commands) for stage in stages), 0
    repeated: set[str] = set()  # stages of which something was done now
    for stage in stages:
        if again or repeated & set(stage.after):
            missing = list(stage.commands)
        else:
            missing = [command for command in stage.commands if _text_of(marks[command][0]) != marks[command][1]]
        for command in stage.commands:
            if command not in missing:
                done += 1
                print(f"[{done}/{total}] {command.name}: done before (--again repeats it)", flush=True)
        for command in missing:
            marks[command][0].unlink(missing_ok=True)
        repeated |= {stage.name} if missing else set()
        parallel = max(1, min(stage.parallel, len(missing)))
        for command in processes.run_commands(missing, parallel, stage.tasks, done, total):
            write_text(*marks[command])
        done += len(missing)
    print(stages[-1].commands[-1].log.read_text(), end="")


def _mark(command: processes.Command) -> tuple[Path, str]:
    """The file that says that a command ended well, and what it then holds."""
    return command.log.with_suffix(".done"), snapshot.settings_of([command.words], os.getcwd())


def _text_of(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
