"""One run in a few values: how far it is, what it was trained with, what it is worth, what it takes on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.config import Config
from pretrain.engine import history
from pretrain.engine.checkpoint import list_checkpoints
from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import holder_of
from pretrain.runtime.options.reading import nearest
from tools.launcher import job_record, status
from tools.run_folders.find import JOB, LOG, bytes_of, find_runs, is_run
from transfer.report.collect.files import Downstream, PretrainingRun, finite, flat, read_run
from transfer.report.collect.names import maker
from transfer.report.collect.search import search_folders
from transfer.results import Result
from transfer.tasks import headline

ALONG = {"knn": "knn_top1", "linear": "linear_top1"}  # of a run's own metrics, by task
OPEN = ("running", "pending", "unknown")  # states in which a run folder is not to be touched


@dataclass(frozen=True)
class Overview:
    """A run folder as it is. state: that of its job (launcher's status), or

    running: a process trains in it; completed: all epochs are done; unfinished: they are not; damaged: what a run
    writes first is not there or cannot be read. why: the reason. run: None where it is damaged. results: of its trunk.
    """

    folder: Path
    state: str
    why: str
    run: PretrainingRun | None
    results: tuple[Downstream, ...] = ()
    notes: tuple[str, ...] = ()
    started: str = ""
    checkpoint: str = ""
    bytes: int = field(default=0)

    def values(self) -> dict[str, Any]:
        """For a line of a table or an object of JSON; what is not known is None. knn, linear: top-1 in percent."""
        get = self.run.setting if self.run else lambda _: None
        return {
            "run": str(self.folder),
            "state": self.state,
            "why": self.why or None,
            "method": get("method.name"),
            "arch": get("model.arch"),
            "data": get("data.root"),
            "epoch": self._last("epoch"),
            "epochs": get("optim.epochs"),
            "step": self._last("step"),
            "knn": self.number("knn"),
            "linear": self.number("linear"),
            "bytes": self.bytes,
            "checkpoint": self.checkpoint or None,
            "started": self.started or None,
        }

    def _last(self, key: str) -> Any:
        return self.run.last(key) if self.run else None

    def number(self, metric: str) -> float | None:
        """A number of this run: `knn` or `linear` of its newest result, else along the run; or any metric's newest."""
        told = self.told(metric)
        return told[0] if told else None

    def told(self, metric: str) -> tuple[float, str] | None:
        """The same with what was measured: protocol and data set, or that it is of the run's own metrics."""
        if metric in ALONG:
            files = [one.result for one in self.results if one.result.task == metric and not one.superseded]
            for result in sorted(files, key=lambda result: result.date, reverse=True):
                if told := _headline(result):
                    return told
        value = self._last(ALONG.get(metric, metric))
        where = self.run.setting("data.val") or self.run.setting("data.root") if self.run else None
        return (float(value), f"{ALONG.get(metric, metric)} along the run on {where}") if finite(value) else None


def _headline(result: Result) -> tuple[float, str] | None:
    """The first top-1 of a result and what was measured; with its name where the result may hold several."""
    name = headline(result.task, list(result.metrics)) if result.metrics else ""
    if "top1" not in name or not finite(result.metrics[name]):
        return None
    return float(result.metrics[name]), f"{result.protocol}{'' if name == 'top1' else f', {name}'} on {result.dataset}"


def overviews(folders: Sequence[Path]) -> list[Overview]:
    """Every run in `folders` or below them, by name.

    Raises:
        UserError: one of them is no folder, or no run is there.
    """
    found = find_runs(folders)
    if not found:
        raise UserError(f"no run below {', '.join(map(str, folders))}: give folders that tools/pretrain.py wrote.")
    try:
        results = search_folders(folders).results
    except UserError:  # nothing that a report could show, but runs that have just begun
        results = []
    notes: dict[Path, list[str]] = {folder: [] for folder in found}
    runs = {folder: read_run(folder / LOG, folder.name, notes[folder]) for folder in found if (folder / LOG).is_file()}
    readable = [run for run in runs.values() if run]
    made: dict[Path, list[Downstream]] = {folder: [] for folder in found}
    for one in results:
        if one.result.init == "pretrained" and (run := maker(readable, one.result)):
            made[run.folder].append(one)
    return [_overview(folder, runs.get(folder), tuple(made[folder]), notes[folder]) for folder in found]


def of_folder(folder: Path) -> Overview:
    """One run, with the results below its folder.

    Raises:
        UserError: it is no run folder.
    """
    if not folder.is_dir() or not is_run(folder):
        raise UserError(f"{folder} is no run folder: name one that `python tools/runs.py list` shows.")
    return overviews([folder])[0]


def not_at_defaults(one: Overview) -> dict[str, list[Any]]:
    """[default, value] of every option of a run that is not at its default."""
    plain = flat(asdict(Config()))
    given = flat(one.run.config) if one.run else {}
    return {name: [plain.get(name), value] for name, value in given.items() if value != plain.get(name)}


def best(found: Sequence[Overview], metric: str) -> dict[str, tuple[Overview, float]]:
    """By what was measured, the run with the highest number; numbers of two protocols are never compared.

    Raises:
        UserError: no run has such a number.
    """
    highest: dict[str, tuple[Overview, float]] = {}
    for one in found:
        if (told := one.told(metric)) and (told[1] not in highest or told[0] > highest[told[1]][1]):
            highest[told[1]] = one, told[0]
    if not highest and metric in ALONG:
        raise UserError(
            f"no run there has a number of {metric}: measure one by `python tools/evaluate.py {metric}`, or along the "
            "run with data.val=FOLDER."
        )
    if not highest:
        keys = sorted({key for one in found if one.run for line in one.run.lines for key in line} | set(ALONG))
        raise UserError(f"no run has a number called '{metric}'; did you mean '{nearest(metric, keys)}'?")
    return highest


def _overview(
    folder: Path, run: PretrainingRun | None, results: tuple[Downstream, ...], notes: Sequence[str]
) -> Overview:
    state, why = state_of(folder, run, notes)
    checkpoints, starts = list_checkpoints(folder), history.read_history(folder)
    return Overview(
        folder,
        state,
        why,
        run,
        results,
        tuple(notes),
        str(starts[0].get("time", "")) if starts else "",
        str(checkpoints[-1]) if checkpoints else "",
        bytes_of(folder),
    )


def state_of(folder: Path, run: PretrainingRun | None, notes: Sequence[str] = ()) -> tuple[str, str]:
    """(state, reason) as `Overview` describes them.

    Args: folder: of the run. run: as it was read; None where that failed. notes: what was said about reading it.
    """
    if holder := holder_of(folder / ".lock"):
        return "running", f"process {holder.pid or '?'} on {holder.host or 'another machine'}"
    job = _job(folder)
    if job and not job.over and not (job.word == "unknown" and _is_done(folder, run)):
        return job.word, job.why
    if _is_done(folder, run):
        return "completed", ""
    if run is None:
        return "damaged", notes[0] if notes else _lacks(folder)
    if job and job.word != "completed":
        return job.word, job.why
    return "unfinished", "" if run.last("step") else "it has no step yet"


def _job(folder: Path) -> status.State | None:
    """What the launcher says of its job; None without one, or where job.json cannot be read."""
    if not (folder / JOB).is_file():
        return None
    try:
        return status.job_state(job_record.read_record(folder))
    except UserError:
        return None


def _is_done(folder: Path, run: PretrainingRun | None) -> bool:
    epochs, epoch = (run.setting("optim.epochs"), run.last("epoch")) if run else (None, None)
    exported = (folder / "export" / "trunk.pth").is_file()
    return exported and finite(epochs) and finite(epoch) and epoch >= epochs


def _lacks(folder: Path) -> str:
    return f"there is no {LOG} yet" if not (folder / LOG).is_file() else "it cannot be read"
