"""Sweeps whose trials are played: a run folder gets the measurements of a formula, one a look."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import torch
import yaml

from helpers.repository import ROOT
from pretrain import config
from tools.launcher.status import State
from tools.trials.rows import CommonSetting
from tools.trials.sweep.definition import Base, make_searches, read_definition
from tools.trials.sweep.loop import Loop
from tools.trials.sweep.storage import open_storage, open_studies

TABLE_2 = ROOT / "configs/pretrain/table2"
SMALL = [
    "model.arch=resnet18",
    "model.projector_width=16",
    "model.projector_depth=2",
    "views.size=32",
    "optim.epochs=4",
    "optim.warmup_epochs=0",
    "optim.batch_size=12",
    "run.precision=fp32",
    "run.device=cpu",
    "run.threads=1",
    "data.workers=0",
]
SEARCH = {"method.balance": {"low": 0.01, "high": 100, "log": True}, "optim.base_lr": {"low": 0.1, "high": 1}}
PLAN = {
    "config": str(TABLE_2),
    "rows": ["e_unigrad"],
    "trials": 9,
    "sampler": {"name": "tpe", "startup": 4},
    "pruner": {"name": "median", "startup": 2, "warmup": 1},
    "search": SEARCH,
}
EPOCHS = 4


def value(params, epoch):
    """What a run measures after an epoch: best at a balance of 1 and a rate of .5, and rising with the epochs."""
    off = math.log10(params["method.balance"]) ** 2 + (params.get("optim.base_lr", 0.5) - 0.5) ** 2
    return 50 - 5 * off + epoch * (1 - off / 10)


@dataclass
class Played:
    """Jobs that measure one epoch a look, in run folders as a run writes them. dies: after so many looks in all."""

    parallel: int = 1
    pause: float = 0.0
    attended: bool = True
    dies: int = 10**9
    fails: dict = field(default_factory=dict)  # why a trial fails, by name
    crashes: dict = field(default_factory=dict)  # how often a trial crashes after its first epoch, by name
    starts: list = field(default_factory=list)
    looks: int = 0
    ended: set = field(default_factory=set)

    def start(self, trial, slot):
        self.starts.append(trial.name)
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "config.yaml").write_text(config.dump(trial.cfg))
        return trial

    def job(self, trial):
        return None

    def look(self, job):
        self.looks += 1
        if self.looks > self.dies:
            raise KeyboardInterrupt
        if job.name in self.ended:
            return State("cancelled")
        log = job.folder / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        if job.name in self.fails:
            return State("failed", code=2)
        if lines and self.crashes.get(job.name, 0):
            self.crashes[job.name] -= 1
            return State("failed", code=1)
        params = {"method.balance": job.cfg.method.balance, "optim.base_lr": job.cfg.optim.base_lr}
        epoch = len(lines) + 1
        with open(log, "a") as handle:
            line = {"step": epoch, "steps": EPOCHS, "epoch": epoch, "knn_top1": value(params, epoch)}
            handle.write(json.dumps(line) + "\n")
        if epoch < EPOCHS:
            return State("running")
        (job.folder / "export").mkdir()
        torch.save({"meta": {"epoch": EPOCHS}}, job.folder / "export/trunk.pth")
        return State("completed")

    def end(self, job):
        self.ended.add(job.name)

    def starts_left(self, job, state, starts):
        return 4 - starts if state.code == 1 else 0

    def why(self, job):
        return self.fails[job.name]


def written(folder, **changes):
    """SWEEP.yaml with changes; None removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {key: one for key, one in (PLAN | changes).items() if one is not None}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
    return folder / "sweep.yaml"


def opened(path, data, out, given=SMALL, trials=None):
    """(searches, studies) of a SWEEP.yaml."""
    read = read_definition(path, trials, None)
    searches = make_searches(read, Base(CommonSetting({}, {}), tuple(given), data, out))
    storage = open_storage(out, read.plan.lock)
    return searches, open_studies(storage, searches)


def swept(path, data, out, place=None, **more):
    """Run a sweep to its end; its trials by name."""
    loop = Loop(*opened(path, data, out, **more), place or Played())
    loop.run()
    return table(loop.write())


def table(sweep):
    return {trial.name: (trial.state, trial.params, trial.value, trial.measurements) for trial in sweep.trials}


def by_optuna(params, startup, warmup):
    """Optuna's own optimize, in memory, over given parameters: (state, steps) of each trial."""
    import optuna

    def objective(trial):
        chosen = {name: trial.suggest_float(name, low, high) for name, (low, high) in bounds.items()}
        for epoch in range(1, EPOCHS + 1):
            trial.report(value(chosen, epoch), epoch)
            if epoch < EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        return value(chosen, EPOCHS)

    bounds = {"method.balance": (0.01, 100), "optim.base_lr": (0.1, 1)}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for one in params:
        study.enqueue_trial(one)
    study.optimize(objective, n_trials=len(params))
    return [(trial.state.name.lower(), len(trial.intermediate_values)) for trial in study.trials]
