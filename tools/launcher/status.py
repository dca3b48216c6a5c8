"""The state of a run folder's job in plain words, with how far the run is, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime, timedelta
from typing import Any

from pretrain.engine.monitor import metrics_file
from pretrain.runtime.errors import STOPPED
from tools.launcher import job_record
from tools.launcher.schedulers.base import Answer
from tools.launcher.worker import exit_codes, restart


@dataclasses.dataclass(frozen=True)
class State:
    """word: pending, running, unknown (none of them over), completed, stopped, failed, cancelled or vanished.

    why: the scheduler's reason or the sentence about the failed rank. restarts: None where the scheduler does not tell.
    code: exit code of the rank that failed first, 1 for another bad end, 0 otherwise.
    """

    word: str
    why: str = ""
    node_list: str = ""
    restarts: int | None = None
    code: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self.word not in ("pending", "running", "unknown")

    def __str__(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


def job_state(record: job_record.JobRecord, patience: float = 0) -> State:
    """Ask the scheduler, and where the job is over, its ranks' exit files.

    patience: seconds to wait at most for the exit files of a job that did not end well.
    """
    if len(jobs := record.each()) > 1:
        return _together([job_state(job, patience) for job in jobs])
    seen = record.ask()
    word: str = "unknown" if seen.phase == "silent" else seen.phase
    why, code = seen.why, 0
    if not seen.alive:
        word, why, code = _end(record, seen, patience)
    return State(word, why, seen.nodes, seen.restarts, code)


def _together(states: list[State]) -> State:
    """Of an array: as long as one job goes on so does it, and it ends as the worst of them did."""
    order = ("unknown", "running", "pending", "failed", "vanished", "cancelled", "stopped", "completed")
    first = min(states, key=lambda state: order.index(state.word))
    counts = {word: sum(state.word == word for state in states) for word in order}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    why = f"{told} of {len(states)}" + (f"; {first.why}" if first.why else "")
    restarts = sum(state.restarts or 0 for state in states)
    return State(first.word, "" if counts["completed"] == len(states) else why, first.node_list, restarts, first.code)


def _end(record: job_record.JobRecord, seen: Answer, patience: float) -> tuple[str, str, int]:
    """(word, why, code) of a job that is over."""
    if seen.phase == "completed":
        return "completed", "", 0
    ranks, about = record.launch.request.ranks, record.scheduler.about
    if seen.phase == "cancelled" or record.cancelled:
        patience = 0
    ended = exit_codes.await_exits(record.logs, record.job_id, ranks, patience)
    failed = exit_codes.first_failure(ended, record.job_id, ranks, record.logs)
    if seen.phase == "cancelled" or (record.cancelled and failed):
        return "cancelled", "", 1
    if seen.phase == "gone":
        if failed is None:
            return "completed", "", 0
        if not any(end.code for end in ended.values()):
            return "vanished", f"{about.gone}, and {failed[1]}", 1
    if exit_codes.stopped_on_request(ended):
        return "stopped", "as it was asked to, with a checkpoint: resume goes on from it", STOPPED
    code, sentence = failed or (1, "every rank ended well")
    return "failed", f"{about.title} says {seen.why}; {sentence}" if seen.why else sentence, code


def report(record: job_record.JobRecord) -> dict[str, Any]:
    """All that `status` tells. What is not known, or not written yet, is None."""
    state = job_state(record)
    line = metrics_file.last_line(record.run_dir) or {}
    written = line.get("time", 0)
    ours = written >= datetime.strptime(record.submitted, job_record.TIME).timestamp()  # not of a job before this one
    left = metrics_file.seconds_left(line) if ours and state.word == "running" and "steps" in line else None
    request, retries = record.launch.request, retried(record)
    return {
        "job_id": record.job_id,
        "cluster": record.launch.cluster,
        "name": request.name,
        "state": state.word,
        "why": state.why or None,
        "submitted": record.submitted,
        "nodes": request.nodes,
        "tasks_per_node": request.tasks,
        "node_list": state.node_list or None,
        "restarts": state.restarts,
        "retries": sum(len(retried(job)) for job in record.each()),
        "last_retry": retries[-1] if retries else None,
        "step": line.get("step"),
        "steps": line.get("steps"),
        "epoch": line.get("epoch"),
        "images_per_second": line.get("images_per_second") if ours else None,
        "eta_seconds": left,
        "seconds_since_last_line": max(0.0, time.time() - written) if line else None,
        "log_of_rank_0": str(record.each()[0].log(0)),
        "run_dir": str(record.run_dir),
    }


def retried(record: job_record.JobRecord) -> list[str]:
    """Why the ranks were started again within the job, the oldest first."""
    return [one.why for one in restart.read_attempts(record.logs, record.job_id) if one.outcome == "retried"]


def as_table(told: dict[str, Any]) -> str:
    """`report` as lines of a name and a value; without those that are not known."""
    values = {
        "job": f"{told['job_id']} ({told['cluster']}), {told['name']}, submitted {told['submitted']}",
        "state": told["state"] + (f": {told['why']}" if told["why"] else ""),
        "nodes": f"{told['node_list'] or 'none yet'}; {told['nodes']} node(s) x {told['tasks_per_node']} task(s)",
        "restarts": told["restarts"],
        "retries": f"{told['retries']}, the last after: {told['last_retry']}" if told["last_retry"] else None,
    }
    if told["step"] is not None:
        of = f" of {told['steps']}" if told["steps"] else ""
        values["step"] = f"{told['step']}{of}, epoch {told['epoch']:.2f}"
        values["images/s"] = told["images_per_second"]
        values["ETA"] = _clock(told["eta_seconds"])
        values["last line"] = f"{_clock(told['seconds_since_last_line'])} ago"
    values |= {"log of rank 0": told["log_of_rank_0"], "run folder": told["run_dir"]}
    return "\n".join(f"{name:<15}{value}" for name, value in values.items() if value is not None)


def as_lines(stages: dict[str, dict[str, Any]]) -> str:
    """`report` of every stage of a pipeline, a line each."""
    cells = [("stage", "job", "state", "step")]
    for name, told in stages.items():
        step = f"{told['step']} of {told['steps']}" if told["steps"] else ""
        cells.append((name, str(told["job_id"]), told["state"] + (f": {told['why']}" if told["why"] else ""), step))
    widths = [max(len(line[column]) for line in cells) for column in range(2)]
    return "\n".join(
        f"{name:<{widths[0]}}  {job:<{widths[1]}}  {state}  {step}".rstrip() for name, job, state, step in cells
    )


def _clock(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=round(seconds))
