"""OUT/sweep.journal: Optuna's journal of all trials, which processes on several machines may share, also over NFS.

A study is a row's search. A trial that has begun is RUNNING there until its run has ended, however often its process
was killed; its run folder has its name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import exclusive

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileOpenLock, JournalFileSymlinkLock
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from tools.trials.sweep.definition import Search

FILE = "sweep.journal"
FOLDER = "folder"  # attribute of a trial: the name of its run folder, where that is not its own number's
IDENTITY = "identity"  # attribute of a study: what must not change
HELD = ".sweep"  # folder in --out of the locks of trials


def open_storage(out: Path, lock: str) -> BaseStorage:
    """The journal in `out`, made where it is missing.

    What a killed process has written of its last line is cut off: that line never counted.

    Args: out: the sweep's folder. lock: symlink or open.

    Raises:
        UserError: the journal is damaged, or holds something else.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    path = str((out / FILE).resolve())
    chosen = JournalFileOpenLock(path) if lock == "open" else JournalFileSymlinkLock(path)
    _cut_off(Path(path), chosen)
    try:
        return JournalStorage(JournalFileBackend(path, chosen))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"{path} is damaged or no journal of Optuna ({type(error).__name__}: {error}): put a copy of it back, or "
            "choose another --out."
        ) from error


def _cut_off(path: Path, lock: JournalFileOpenLock | JournalFileSymlinkLock) -> None:
    """Remove an incomplete last line, while nobody writes."""
    if not path.is_file() or _ends_well(path):
        return
    lock.acquire()
    try:
        if not _ends_well(path):
            content = path.read_bytes()
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _ends_well(path: Path) -> bool:
    with open(path, "rb") as handle:
        if not handle.seek(0, os.SEEK_END):
            return True
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


def open_study(storage: BaseStorage, search: Search) -> Study:
    """The study of a row, made where it is missing; a grid's combinations are then put into its queue.

    Raises:
        UserError: it was begun by another definition, or not by tools/sweep.py.
    """
    import optuna

    asked = json.loads(json.dumps(search.identity()))
    known = {one.study_name: one for one in optuna.get_all_study_summaries(storage)}
    sampler, pruner = search.plan.make_sampler(search.row, 0), search.plan.make_pruner()
    of_old = known[search.row].user_attrs.get(IDENTITY) if search.row in known else None
    if of_old is not None:
        _check_same(of_old, asked, search)
        return optuna.load_study(study_name=search.row, storage=storage, sampler=sampler, pruner=pruner)
    study = optuna.create_study(
        storage=storage,
        study_name=search.row,
        direction="maximize",
        load_if_exists=True,  # a process may have been killed right here
        sampler=sampler,
        pruner=pruner,
    )
    if any(one.state.name != "WAITING" for one in study.get_trials(deepcopy=False)):
        raise UserError(f"{search.base.out / FILE} holds a study '{search.row}' of no sweep: choose another --out.")
    for values in search.grid() if search.plan.gridded else []:
        study.enqueue_trial(values, skip_if_exists=True)
    study.set_user_attr(IDENTITY, asked)
    return study


def open_studies(storage: BaseStorage, searches: Sequence[Search]) -> dict[str, Study]:
    """`open_study` of every row, while no other process makes them or takes trials."""
    with claiming(searches[0].base.out):
        return {search.row: open_study(storage, search) for search in searches}


def claiming(out: Path) -> contextlib.AbstractContextManager[bool]:
    """The right to begin trials of the sweep in `out`, which one process has at a time, and for a moment."""
    return exclusive(out / HELD / "claim.lock", lambda _: math.inf)


def _check_same(old: dict[str, Any], asked: dict[str, Any], search: Search) -> None:
    where = search.base.out / FILE
    for key in dict.fromkeys((*asked, *old)):
        if old.get(key) != asked.get(key):
            raise UserError(
                f"{where} holds a sweep of {search.row} with {key}={_told(old.get(key))}, but this one asks for "
                f"{_told(asked.get(key))}: choose another --out."
            )


def _told(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)


def folder_of(row: str, trial: FrozenTrial) -> str:
    """The name of a trial's run folder."""
    return str(trial.user_attrs.get(FOLDER, f"{row}-{trial.number}"))


def begun(row: str, trials: Iterable[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Trials that have begun, by run folder; one that was tried again counts once, as what came of it last."""
    return {folder_of(row, trial): trial for trial in trials if trial.state.name != "WAITING"}


def try_again(row: str, study: Study) -> int:
    """Put every trial that failed into the queue once more, in its own run folder; how many."""
    waiting = {folder_of(row, trial) for trial in study.get_trials() if trial.state.name == "WAITING"}
    failed = [(name, one) for name, one in begun(row, study.get_trials()).items() if one.state.name == "FAIL"]
    asked = [(name, one) for name, one in failed if name not in waiting]
    for name, one in asked:
        study.enqueue_trial(one.params, user_attrs={FOLDER: name})
    return len(asked)
