"""The sweep itself: begin trials, go on with those that were interrupted, follow them, end them, write what is known.

Several processes may do this for one sweep, on machines that share its folder. Each holds the lock of its trials.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import Held, exclusive
from tools.launcher import status
from tools.launcher.job_record import JobRecord
from tools.trials.sweep import results
from tools.trials.sweep.definition import Search
from tools.trials.sweep.progress import measurements, tell
from tools.trials.sweep.storage import HELD, begun, claiming, folder_of
from tools.trials.trial import Trial, check_same
from transfer.report.collect.sweeps import OPEN, Sweep
from transfer.report.render.sweeps import value_text

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Proposal

AGAIN = 10.0  # seconds until another look for trials that a process elsewhere has left


class Jobs(Protocol):
    """Where trials run; place.py describes each."""

    @property
    def parallel(self) -> int:
        """Trials at the same time."""

    @property
    def pause(self) -> float:
        """Seconds between two looks."""

    @property
    def attended(self) -> bool:
        """Whether jobs end with this process."""

    def start(self, trial: Trial, slot: int) -> JobRecord:
        """Start or go on with a trial."""

    def job(self, trial: Trial) -> JobRecord | None:
        """Its last job."""

    def look(self, job: JobRecord) -> status.State:
        """How a job is."""

    def end(self, job: JobRecord) -> None:
        """Ask for its end, with a checkpoint."""

    def starts_left(self, job: JobRecord, state: status.State, starts: int) -> int:
        """How often to start it again."""

    def why(self, job: JobRecord) -> str:
        """Why it failed."""


@dataclass
class Running:
    """A trial of this process. record: its job. lock: held until the trial is over here. starts: of its job."""

    search: Search
    proposal: Proposal
    trial: Trial
    lock: contextlib.ExitStack
    slot: int = 0
    record: JobRecord | None = None
    starts: int = 0
    pruned: bool = False


def propose(search: Search, study: Study, proposal: Proposal) -> Trial:
    """The trial with the values that Optuna proposes, or has proposed before it was interrupted."""
    study.sampler = search.plan.make_sampler(search.row, proposal.number)
    values = {name: searched.suggest(proposal, name) for name, searched in search.space.items()}
    frozen = study.get_trials(deepcopy=False)[proposal.number]
    return search.trial(folder_of(search.row, frozen), values)


def adopt(study: Study, frozen: FrozenTrial) -> Proposal:
    """An interrupted trial as one that goes on."""
    import optuna

    return optuna.trial.Trial(study, frozen._trial_id)


def check_open(searches: Sequence[Search], studies: Mapping[str, Study], place: Jobs) -> None:
    """See that every trial that has begun and not ended can go on.

    Raises:
        UserError: a run folder is half written, or of another run.
    """
    for search in searches:
        study = studies[search.row]
        for frozen in begun(search.row, study.get_trials()).values():
            if frozen.state.name == "RUNNING":
                check_folder(propose(search, study, adopt(study, frozen)), place)


def check_folder(trial: Trial, place: Jobs) -> None:
    """See that a trial can begin or go on in its run folder; a UserError says why not, and what to do."""
    try:
        check_same(trial, "sweep")
        place.job(trial)
    except UserError as error:
        told = str(error).removesuffix(": choose another --out.").removesuffix(".")
        raise UserError(
            f"{trial.folder} is half written or of another run ({told}): move it away, and its trial begins anew."
        ) from error


@dataclass
class Loop:
    """What one process does for a sweep. left: trials that somebody stopped, which it does not take up again."""

    searches: Sequence[Search]
    studies: Mapping[str, Study]
    place: Jobs
    running: list[Running] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    claims_at: float = 0.0

    @property
    def out(self) -> Path:
        """The folder of the sweep."""
        return self.searches[0].base.out

    def run(self) -> None:
        """All trials to their ends. Leaving it early (Ctrl-C, SIGTERM) ends those that run on this machine."""
        try:
            while self.step():
                time.sleep(self.place.pause)
        finally:
            self._leave()

    def step(self) -> bool:
        """Look at each trial, and take up others while there is room; whether any goes on here."""
        for one in list(self.running):
            self._follow(one)
        self._fill()
        return bool(self.running)

    def _fill(self) -> None:
        """Take up trials while there is room."""
        while len(self.running) < self.place.parallel and time.monotonic() >= self.claims_at:
            if (one := self._claim()) is None:
                self.claims_at = time.monotonic() + AGAIN
                break
            one.slot = min(set(range(self.place.parallel)) - {other.slot for other in self.running})
            self.running.append(one)
            self._take_up(one)

    def _claim(self) -> Running | None:
        """One that was interrupted, else a new one of the row that has the fewest; None where there is none."""
        with claiming(self.out):
            trials = {search.row: begun(search.row, self.studies[search.row].get_trials()) for search in self.searches}
            for search in self.searches:
                for name, frozen in trials[search.row].items():
                    mine = name in self.left or any(one.trial.name == name for one in self.running)
                    if frozen.state.name == "RUNNING" and not mine and (lock := self._lock(name)):
                        study = self.studies[search.row]
                        proposal = adopt(study, frozen)
                        return Running(search, proposal, propose(search, study, proposal), lock)
            for search in sorted(self.searches, key=lambda search: len(trials[search.row])):
                study = self.studies[search.row]
                waits = any(one.state.name == "WAITING" for one in study.get_trials(deepcopy=False))
                if waits or len(trials[search.row]) < search.trials:
                    trial = propose(search, study, proposal := study.ask())
                    lock = self._lock(trial.name)
                    assert lock is not None, f"{trial.name} has just begun"
                    return Running(search, proposal, trial, lock)
        return None

    def _lock(self, name: str) -> contextlib.ExitStack | None:
        """The right to follow a trial; None where another process has it."""
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(exclusive(self.out / HELD / f"{name}.lock", lambda _: 0.0))
        except Held:
            return None
        return stack

    def _take_up(self, one: Running) -> None:
        """Start its job, unless that goes on, or nothing is left to do."""
        check_folder(one.trial, self.place)
        one.record = self.place.job(one.trial)
        over = one.record is None or self.place.look(one.record).over
        one.pruned = tell(one.proposal, measurements(one.trial.folder, one.search.plan.metric))
        values = ", ".join(f"{name}={value_text(value)}" for name, value in one.proposal.params.items())
        print(f"{one.trial.name}: {values}", flush=True)
        if over and not one.pruned and not one.trial.finished():
            self._start(one)
        elif over:
            self._settle(one, status.State("completed"))

    def _start(self, one: Running) -> None:
        one.record = self.place.start(one.trial, one.slot)
        one.starts += 1

    def _follow(self, one: Running) -> None:
        """Tell Optuna what was measured since; end the job where Optuna says so; see whether it is over."""
        assert one.record is not None
        state = self.place.look(one.record)
        found = measurements(one.trial.folder, one.search.plan.metric)
        if not one.pruned and tell(one.proposal, found):
            one.pruned = True
            print(f"{one.trial.name}: below the median after measurement {len(found)}; it ends", flush=True)
            self.place.end(one.record)
        if state.over:
            self._settle(one, state)

    def _settle(self, one: Running, state: status.State) -> None:
        """What becomes of a trial whose job is over."""
        again = self.place.starts_left(one.record, state, one.starts) if one.record else 0
        if one.pruned:
            self._tell(one, "PRUNED")
        elif one.trial.finished():
            self._complete(one)
        elif again > 0:
            print(f"{one.trial.name}: {state}; starting again from its newest checkpoint", flush=True)
            self._start(one)
        elif state.word in ("stopped", "cancelled"):
            self.left[one.trial.name] = str(state)
            self._let_go(one)
        else:
            self._tell(one, "FAIL", self.place.why(one.record) if one.record else str(state))

    def _complete(self, one: Running) -> None:
        found = measurements(one.trial.folder, one.search.plan.metric)
        if found:
            self._tell(one, "COMPLETE", value=found[-1].value)
        else:
            self._tell(one, "FAIL", f"its run has measured no {one.search.plan.metric}")

    def _tell(self, one: Running, state: str, why: str = "", value: float | None = None) -> None:
        """Note the end of a trial, and write the results anew.

        Args: one: the trial. state: Optuna's name of it. why: the sentence of a failure. value: of the metric.
        """
        from optuna.trial import TrialState

        if why:
            one.proposal.set_user_attr(results.WHY, why)
        study = self.studies[one.search.row]
        study.tell(one.proposal.number, value, state=TrialState[state])
        self._let_go(one)
        sweep = self.write()
        done = sum(trial.state != OPEN for trial in sweep.trials)
        total = sum(search.trials for search in self.searches)
        (ended,) = [trial for trial in sweep.trials if trial.name == one.trial.name]
        reached = "" if ended.value is None else f", {sweep.metric} {ended.value:.2f}"
        print(f"[{done}/{total}] {ended.name}: {ended.state}{reached}{f': {why}' if why else ''}", flush=True)

    def _let_go(self, one: Running) -> None:
        self.running.remove(one)
        one.lock.close()
        self.claims_at = 0.0  # there is room

    def write(self) -> Sweep:
        """The results as they stand."""
        sweep = results.collect(self.searches, self.studies)
        results.write(sweep, self.searches)
        return sweep

    def _leave(self) -> None:
        """End what runs on this machine with a checkpoint; jobs in a queue go on."""
        waits = [one.record for one in self.running if one.record]
        if waits and self.place.attended:
            with ThreadPoolExecutor(len(waits)) as pool:
                list(pool.map(self.place.end, waits))
        for one in list(self.running):
            self._let_go(one)
        self.write()
        if waits:
            done = "ended with a checkpoint" if self.place.attended else "go on as jobs"
            print(f"{len(waits)} trial(s) {done}: the same command goes on with them", flush=True)
