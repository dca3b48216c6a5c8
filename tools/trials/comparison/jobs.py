"""The commands behind tools/compare.py, here or a job each; what is there already is not done again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.runtime.devices.compile import shared_compiled
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from tools.launcher import schedulers
from tools.launcher.pipeline import processes, spec
from tools.launcher.worker.logs import last_sentence
from tools.trials.trial import Trial
from transfer import results
from transfer.evaluate import choose

MACHINE = ("workers", "threads", "device", "cache")  # options that no number depends on


@dataclass(frozen=True)
class Runner:
    """Where commands run.

    cluster: name of the scheduler. parallel: how many at the same time, None for one here and all on a cluster. gpus:
    of a training, None for the launcher's choice. out: gets results/ and logs/.
    """

    cluster: str
    parallel: int | None
    gpus: int | None
    out: Path

    def run(self, jobs: Sequence[Training | Evaluation]) -> dict[str, str]:
        """Run all of `jobs` to their ends; by name, the last sentence of those that failed."""
        if not jobs:
            return {}
        commands = {job.name: self._command(job) for job in jobs}
        at_once = self.parallel or (1 if schedulers.find_scheduler(self.cluster).about.here else len(jobs))
        with shared_compiled(self.out):
            failed = processes.run_all_commands(list(commands.values()), min(at_once, len(jobs)))
        return {name: last_sentence(command.log) for name, command in commands.items() if command.name in failed}

    def _command(self, job: Training | Evaluation) -> processes.Command:
        """As a stage of a pipeline, which knows how to put a tool's command line to any scheduler."""
        tool, stem = ("pretrain", "train") if isinstance(job, Training) else ("evaluate", "evaluate")
        entry: dict[str, Any] = {"name": f"{stem}-{job.name}", "tool": tool, "args": [shlex.join(job.arguments())]}
        if self.gpus is not None:
            entry["gpus"] = self.gpus if tool == "pretrain" else min(self.gpus, 1)
        return spec.read_stage(entry, {"out": str(self.out)}, "compare", self.cluster).commands[0]


@dataclass(frozen=True)
class Training:
    """The pretraining of one trial."""

    trial: Trial

    @property
    def name(self) -> str:
        return self.trial.name

    def arguments(self) -> list[str]:
        """For tools/pretrain.py."""
        return self.trial.arguments()


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one trunk on `data`.

    overrides: options of tools/evaluate.py; results: the file of each task.
    """

    name: str
    checkpoint: Path
    data: Path
    overrides: tuple[str, ...]
    results: dict[str, Path]

    def missing(self) -> list[str]:
        """Tasks that have no result of this very checkpoint under these options."""
        sha256 = sha256_of(self.checkpoint)
        return [task for task, path in self.results.items() if not self._holds(task, path, sha256)]

    def _holds(self, task: str, path: Path, sha256: str) -> bool:
        try:
            result = results.load(path)
        except UserError:  # absent or damaged: measured again
            return False
        asked = choose(task, None, self.overrides).settings()
        same = all(result.settings.get(key) == value for key, value in asked.items() if key not in MACHINE)
        return same and result.checkpoint_sha256 == sha256

    def arguments(self) -> list[str]:
        """For tools/evaluate.py."""
        out = str(next(iter(self.results.values())).parent / f"{{task}}-{self.name}.json")
        checkpoint = str(self.checkpoint)
        named = ["--checkpoint", checkpoint, "--data", str(self.data), "--out", out]
        return [",".join(self.missing()), *named, *self.overrides]


def evaluation_of(
    name: str, checkpoint: Path, trial: Trial, runner: Runner, data: Path, tasks: Sequence[str], given: Sequence[str]
) -> Evaluation:
    """The evaluation of a trunk of `trial`, at its image size and seed unless `given` says otherwise.

    Args:
        name: of the trunk, for its files.
        checkpoint: the trunk.
        trial: that trained it.
        runner: where commands run, and where results go.
        data: holds train/ and val/.
        tasks: of tools/evaluate.py.
        given: its options.
    """
    cfg = trial.cfg
    options = {
        "image_size": cfg.views.size,
        "seed": trial.seed,
        "workers": cfg.data.workers,
        "threads": cfg.run.threads,
    }
    overrides = (*(f"{key}={value}" for key, value in options.items()), *given)
    files = {task: runner.out / "results" / f"{task}-{name}.json" for task in tasks}
    return Evaluation(name, checkpoint, data, overrides, files)
