"""A pipeline on SLURM: every stage a job, or an array of jobs, that waits for those it needs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from tools.launcher import cli, cluster, job_record, snapshot, status, submission
from tools.launcher.job_record import Record
from tools.launcher.pipeline.spec import Stage
from tools.launcher.plan import Launch, plan

FILE = "pipeline.json"


def submit(found: Sequence[Stage], out: Path, again: bool, argv: Sequence[str]) -> None:
    """Submit every stage that has to be done, and write OUT/pipeline.json.

    A stage that ended well as it is asked for now is left as it is, unless one that it needs is done again; one that
    still waits or runs is left too. Without `again`; with it everything is done.

    Raises:
        UserError: SLURM refuses a job, or a stage runs with other settings.
    """
    cluster.require_slurm()
    planned = {stage.name: _planned(stage, out) for stage in found}  # all are checked before the first is submitted
    records: dict[str, Record] = {}
    waited_for: dict[str, str] = {}  # job ids of the stages that are not over
    for stage in found:
        name, asked = stage.name, planned[stage.name]
        needed = [waited_for[other] for other in stage.after if other in waited_for]
        before = None if again or needed and _is_over(asked) else _left(asked)
        if before is None:
            asked = _depending(asked, needed)
            before = submission.submit(asked)
            waited_for[name] = before.job_id
        elif not status.state_of(before).over:
            print(f"{name}: {before.name} is {status.state_of(before)} already", flush=True)
            waited_for[name] = before.job_id
        else:
            print(f"{name}: done before (--again repeats it)", flush=True)
        records[name] = before
    rows = [{"name": name, "run_dir": str(record.run_dir)} for name, record in records.items()]
    write_json(out / FILE, {"command": list(argv), "folder": os.getcwd(), "stages": rows})
    print(f"look: python tools/launch.py status {shlex.quote(str(out))} (or cancel, resume)")


def _planned(stage: Stage, out: Path) -> Launch:
    """The stage's commands as one launch of one or several jobs."""
    parts = []
    for command in stage.commands:
        tool, args, arguments = cli.split(list(command.words[2:]))
        parts.append(plan(tool, args, arguments))
    first = parts[0]
    if len(parts) == 1:
        return snapshot.planned(first)
    plain = re.sub(r"\W*\$\{[^}]*\}", "", stage.name) or "stage"
    return snapshot.planned(
        dataclasses.replace(
            first,
            commands=tuple(command for part in parts for command in part.commands),
            shown=tuple(shown for part in parts for shown in part.shown),
            run_dir=(out / "logs/launch" / plain).resolve(),
            request=dataclasses.replace(
                first.request, name=plain, options=first.request.options | {"array_parallelism": stage.parallel}
            ),
        )
    )


def _depending(asked: Launch, needed: Sequence[str]) -> Launch:
    """With the wish to start once all of `needed` have ended well, and to be dropped where one of them does not."""
    if not needed:
        return asked
    options = asked.request.options | {"dependency": ":".join(["afterok", *needed])}
    extra = asked.request.extra | {"kill-on-invalid-dep": "yes"}
    return dataclasses.replace(asked, request=dataclasses.replace(asked.request, options=options, extra=extra))


def _record(asked: Launch) -> Record | None:
    return job_record.read(asked.run_dir) if (asked.run_dir / "job.json").is_file() else None


def _is_over(asked: Launch) -> bool:
    record = _record(asked)
    return record is None or status.state_of(record).over


def _left(asked: Launch) -> Record | None:
    """The stage's earlier job, where nothing is left to do but to wait for it."""
    record = _record(asked)
    if record is None:
        return None
    state, same = status.state_of(record), record.launch.settings == asked.settings
    if state.over:
        return record if same and state.word == "completed" else None
    if not same:
        raise UserError(
            f"{record.name} is {state} in {asked.run_dir} with other settings: cancel it, or choose out=DIR."
        )
    return record


def read(out: Path) -> list[tuple[str, Record]]:
    """The stages of the pipeline that was submitted into `out`, with their jobs; empty where there is none."""
    path = out.expanduser().resolve() / FILE
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["stages"]
    return [(row["name"], job_record.read(Path(row["run_dir"]))) for row in rows]
