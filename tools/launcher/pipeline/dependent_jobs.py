"""A pipeline in a queue: every stage a job, or an array of jobs, that waits for those it needs."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json
from pretrain.runtime.repository import spoken
from tools.launcher import cli, job_record, schedulers, snapshot, status, submission
from tools.launcher.job_record import JobRecord
from tools.launcher.pipeline.spec import Stage
from tools.launcher.plan import plan
from tools.launcher.request import Launch
from tools.launcher.schedulers.base import Queue

FILE = "pipeline.json"


def submit_stages(stages: Sequence[Stage], out: Path, cluster: str, again: bool, argv: Sequence[str]) -> None:
    """Submit every stage that has to be done, and write OUT/pipeline.json.

    A stage that ended well as it is asked for now is left as it is, unless one that it needs is done again. One that
    still waits or runs is left too.

    Args:
        stages: in an order in which none comes before one that it needs.
        out: the folder of everything that the pipeline writes.
        cluster: name of a scheduler with a queue.
        again: do everything, also what ended well.
        argv: the command line, which `resume` repeats.

    Raises:
        UserError: the scheduler refuses a job, or a stage runs with other settings.
    """
    scheduler = schedulers.find_scheduler(cluster)
    scheduler.require()
    assert scheduler.queue is not None, f"jobs of {cluster} cannot wait for each other"
    # all are checked before the first is submitted
    planned = {stage.name: _planned(stage, out, scheduler.queue) for stage in stages}
    records: dict[str, JobRecord] = {}
    waited_for: dict[str, str] = {}  # job ids of the stages that are not over
    for stage in stages:
        name, asked = stage.name, planned[stage.name]
        needed = [waited_for[other] for other in stage.after if other in waited_for]
        before = None if again or needed and _is_over(asked) else _unfinished_or_done(asked)
        if before is None:
            before = submission.submit(_depending(asked, needed, scheduler.queue))
            waited_for[name] = before.job_id
        elif not (state := status.job_state(before)).over:
            print(f"{name}: {before.name} is {state} already", flush=True)
            waited_for[name] = before.job_id
        else:
            print(f"{name}: done before (--again repeats it)", flush=True)
        records[name] = before
    written = [{"name": name, "run_dir": str(record.run_dir)} for name, record in records.items()]
    write_json(out / FILE, {"command": list(argv), "folder": os.getcwd(), "stages": written})
    print(f"look: {spoken('python tools/launch.py')} status {shlex.quote(str(out))} (or cancel, resume)")


def _planned(stage: Stage, out: Path, queue: Queue) -> Launch:
    """The stage's commands as one launch of one or several jobs."""
    parts = []
    for command in stage.commands:
        tool, args, arguments = cli.split_arguments(list(command.words[2:]))
        parts.append(plan(tool, args, arguments))
    first = parts[0]
    if len(parts) == 1:
        return snapshot.from_snapshot(first)
    plain = re.sub(r"\W*\$\{[^}]*\}", "", stage.name) or "stage"
    return snapshot.from_snapshot(
        dataclasses.replace(
            first,
            commands=tuple(command for part in parts for command in part.commands),
            shown=tuple(shown for part in parts for shown in part.shown),
            run_dir=(out / "logs/launch" / plain).resolve(),
            request=queue.at_once(dataclasses.replace(first.request, name=plain), stage.parallel),
        )
    )


def _depending(asked: Launch, needed: Sequence[str], queue: Queue) -> Launch:
    """As a launch that waits for the jobs `needed`, where there are any."""
    return dataclasses.replace(asked, request=queue.after(asked.request, needed)) if needed else asked


def _record(asked: Launch) -> JobRecord | None:
    return job_record.read_record(asked.run_dir) if (asked.run_dir / "job.json").is_file() else None


def _is_over(asked: Launch) -> bool:
    record = _record(asked)
    return record is None or status.job_state(record).over


def _unfinished_or_done(asked: Launch) -> JobRecord | None:
    """The stage's earlier job, where nothing is left to do but to wait for it."""
    record = _record(asked)
    if record is None:
        return None
    state, same = status.job_state(record), record.launch.settings == asked.settings
    if state.over:
        return record if same and state.word == "completed" else None
    if not same:
        raise UserError(
            f"{record.name} is {state} in {asked.run_dir} with other settings: cancel it, or choose out=DIR."
        )
    return record


def read_stages(out: Path) -> list[tuple[str, JobRecord]]:
    """The stages of the pipeline that was submitted into `out`, with their jobs; empty where there is none."""
    path = out.resolve() / FILE
    if not path.is_file():
        return []
    try:
        stages = [
            (str(stage["name"]), Path(stage["run_dir"])) for stage in read_json(path, "a pipeline's list")["stages"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: start the pipeline again, which does only what is left.") from error
    return [(name, job_record.read_record(folder)) for name, folder in stages]
