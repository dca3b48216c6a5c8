"""Where the trials of a sweep run: each is a job of one of the schedulers, with its share of this machine."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.runtime.errors import BAD_INPUT, STOPPED, UserError
from tools.launcher import cli, control, job_record, schedulers, snapshot, status, submission
from tools.launcher.gpus import Gpus
from tools.launcher.job_record import JobRecord
from tools.launcher.plan import plan
from tools.launcher.request import Launch
from tools.launcher.schedulers.base import About
from tools.launcher.worker import exit_codes
from tools.launcher.worker.logs import last_sentence
from tools.trials.trial import Trial

OWN = ("run_dir", "name", "trials", "network_check", "dry_run", "follow")  # options that differ from trial to trial
DEVICES, THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Place:
    """cluster: name of the scheduler. words: further options of tools/launch.py. parallel: trials at the same time."""

    cluster: str
    words: tuple[str, ...]
    parallel: int

    @property
    def about(self) -> About:
        """What is true of all jobs there."""
        return schedulers.find_scheduler(self.cluster).about

    def require(self) -> None:
        """See that jobs can be started from this machine; a UserError says what is missing."""
        schedulers.find_scheduler(self.cluster).require()

    def planned(self, trial: Trial, slot: int) -> Launch:
        """The trial's job, decided but not started.

        Args: trial: any of the sweep. slot: which of the `parallel` places it takes, from 0.

        Raises:
            UserError: whatever the launcher refuses, or an option in `words` that the sweep sets itself.
        """
        words = ["pretrain", f"--cluster={self.cluster}", *self.words]
        tool, args, arguments = cli.split_arguments([*words, "--", *trial.arguments()])
        for name in OWN:
            if getattr(args, name):
                raise UserError(f"--launch: --{name.replace('_', '-')} is the sweep's own: leave it out.")
        if args.cluster != self.cluster:
            raise UserError(f"--launch: give --cluster {args.cluster} to the sweep itself.")
        launch = plan(tool, args, arguments)
        if self.about.here:
            launch = self._share(launch, args, arguments, slot)
        return snapshot.from_snapshot(launch)

    def _share(self, launch: Launch, args: argparse.Namespace, arguments: list[str], slot: int) -> Launch:
        """A part of this machine's GPUs and cores, so that trials beside each other do not take the same."""
        visible = [one for one in launch.environment.get(DEVICES, "").split(",") if one]
        if args.gpus is None and launch.request.gpus:
            args.gpus = Gpus(max(1, launch.request.gpus // self.parallel))
            launch = plan("pretrain", args, arguments)
        cores = max(1, int(launch.environment.get(THREADS, "1")) // self.parallel)
        own = {THREADS: str(cores)} if THREADS in launch.environment and args.cpus is None else {}
        if launch.request.gpus:
            own[DEVICES] = ",".join(share(visible, slot, launch.request.gpus))
        return dataclasses.replace(launch, environment=launch.environment | own)

    @property
    def pause(self) -> float:
        """Seconds between two looks at a job."""
        return self.about.pause

    @property
    def attended(self) -> bool:
        """Whether jobs end when the sweep does."""
        return self.about.attended

    def start(self, trial: Trial, slot: int) -> JobRecord:
        """Start the trial, or go on with it where its run folder has a checkpoint."""
        return submission.submit(self.planned(trial, slot))

    def job(self, trial: Trial) -> JobRecord | None:
        """The job that was started last in the trial's run folder.

        Raises:
            UserError: what the folder holds of it is damaged.
        """
        return job_record.read_record(trial.folder) if (trial.folder / "job.json").is_file() else None

    def look(self, job: JobRecord) -> status.State:
        """The state of a job. A rank that has failed ends the others, where nobody else sees to that."""
        about, ranks = job.scheduler.about, job.launch.request.ranks
        if about.attended and ranks > 1:
            exits = exit_codes.read_exits(job.logs, job.job_id, ranks)
            if any(one.code not in (0, STOPPED) for one in exits.values()):
                job.scheduler.cancel(job.job, submission.AFTER_FAILURE)
        return status.job_state(job, exit_codes.PATIENCE)

    def end(self, job: JobRecord) -> None:
        """Ask a job to end with a checkpoint, where it is not over."""
        if not status.job_state(job).over:
            control.end_job(job)

    def starts_left(self, job: JobRecord, state: status.State, starts: int) -> int:
        """How often a job that has ended badly is to be started again after `starts` times.

        Where a scheduler has done that itself, only a job is that it has lost.
        """
        crashed = state.word == "vanished" or (state.word == "failed" and self.about.attended)
        return 1 + job.launch.request.retries - starts if crashed and state.code != BAD_INPUT else 0

    def why(self, job: JobRecord) -> str:
        """The sentence of a job that failed."""
        return last_sentence(job.log(0))


def share(devices: Sequence[str], slot: int, count: int) -> list[str]:
    """The `count` devices of a slot; where there are fewer than all slots need, slots share them in turn."""
    return [devices[(slot * count + place) % len(devices)] for place in range(min(count, len(devices)))]
