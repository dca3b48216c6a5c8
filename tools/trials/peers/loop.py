"""The plain loop that trains a peer on the views of our run, and writes what a run folder holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from pretrain import config
from pretrain.augment import photometry
from pretrain.augment.multicrop import Batch
from pretrain.data.loader import StepSampler
from pretrain.data.sources import Reading, open_source
from pretrain.engine import checkpoint, history, records, resume
from pretrain.engine.learner import PRECISIONS, fill_balance, rates, target_momenta
from pretrain.engine.loading import make_loader
from pretrain.engine.monitor import diagnostics
from pretrain.engine.monitor.logger import Length, Monitor
from pretrain.engine.position import NAME, Position, beginning, position_in
from pretrain.engine.statistics import measured
from pretrain.engine.validate import ready
from pretrain.models.pixels import pixels_of
from pretrain.runtime.lock import lock_run_folder
from pretrain.runtime.printable import say
from pretrain.train import Probe
from tools.trials.peers.peer import LIBRARY, Passed, Peer, build, find

EXPORT = ("export", "trunk.pth")  # in a run folder


class Training:
    """A peer with its optimiser and its schedules; `training(batch, done, steps)` is one step of its plain loop.

    Where the gradient of its loss is f times ours, its rate is ours over f and its weight decay f times ours. Under SGD
    both then take the same step.

    Args: cfg, of the row; peer, of its method; device, where it runs.
    """

    def __init__(self, cfg: config.Config, peer: Peer, device: torch.device) -> None:
        self.network = build(cfg, peer).to(device)
        self.trunk = self.network.get_submodule("trunk")
        self.pixels, self.device, self.dtype = pixels_of(self.trunk), device, PRECISIONS[cfg.run.precision]
        learning = [one for one in self.network.parameters() if one.requires_grad]
        decay = cfg.optim.weight_decay * peer.gradient
        self.optimizer = torch.optim.SGD(learning, lr=0.0, momentum=cfg.optim.momentum, weight_decay=decay)
        self.lr, self.momentum, self.gradient = rates(cfg.optim), target_momenta(cfg.optim), peer.gradient
        self.health = diagnostics.Health().to(device)

    def __call__(self, batch: Batch, done: int, steps: int) -> tuple[Passed, dict[str, float]]:
        """One step after `done` of `steps`: what its forward pass gave, and the rates."""
        lr, momentum = self.lr(done / steps) / self.gradient, self.momentum(done / steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        [views] = photometry.finish(batch, self.device, self.pixels)
        passed: Passed = self.network(views.to(self.dtype), momentum)
        self.optimizer.zero_grad()
        torch.autograd.backward(passed.loss)
        self.optimizer.step()
        return passed, {"lr": lr, "target_momentum": momentum}

    def parts(self) -> dict[str, Any]:
        """All state, by its name in a checkpoint."""
        return {"peer": self.network, "optimizer": self.optimizer, "health": self.health}


def train(cfg: config.Config, probe: Probe | None = None) -> Path:
    """Train the peer of the row in `cfg`, or go on where an earlier run in the same run_dir stopped.

    A run that is ended goes on from its last checkpoint (run.checkpoint_every_epochs).

    Args: probe, measures the trunk every run.measure_every_epochs; its readings join the metrics.

    Returns: RUN/export/trunk.pth.

    Raises:
        UserError: anything in `cfg`, the images or an existing run folder that cannot work.
    """
    device = ready(cfg)
    peer = find(cfg)
    cfg = fill_balance(cfg)
    source = open_source(cfg.data.root, cfg.data.class_depth, reading=Reading.of(cfg.data))
    source = dataclasses.replace(source, bits=cfg.data.bits)
    cfg = measured(cfg, source)
    passes = (cfg.optim.batch_size, cfg.optim.epochs, cfg.run.seed)
    sampler = StepSampler(len(source), *passes, mixture=source.mixture)
    with lock_run_folder(Path(cfg.run_dir), say):
        training = Training(cfg, peer, device)
        state, begun = _begin(cfg, training, sampler)
        sampler.start = place = begun.place(sampler)
        say(f"{LIBRARY}'s {peer.method}: {len(source)} images, {sampler.steps} steps, from step {place}, on {device}")
        with Monitor(cfg.run, Path(cfg.run_dir), device, Length.of(begun, sampler)) as monitor:
            if state:
                monitor.load(state["monitor"])
            batches = monitor.timed(make_loader(cfg, source, sampler, device))
            for done, batch in enumerate(batches, place + 1):
                monitor.skipped(batch.unreadable)
                _log(monitor, training, done, *training(batch, done - 1, sampler.steps), probe)
                if records.due(cfg.run, sampler, done):
                    _save(cfg, training, monitor, begun.after(done, place, sampler), sampler)
            if place >= sampler.steps:  # killed, perhaps, between its last checkpoint and that one's trunk
                _export(cfg, training, begun, sampler)
    return Path(cfg.run_dir, *EXPORT)


def _begin(cfg: config.Config, training: Training, sampler: StepSampler) -> tuple[dict[str, Any] | None, Position]:
    """What the newest checkpoint holds, its state loaded, and where the run stands."""
    run_dir = Path(cfg.run_dir)
    resumed = resume.resume(run_dir, training.parts(), ["monitor"], cfg, say)
    if resumed is None:
        history.open_history(cfg)
        return None, beginning(sampler)
    position = position_in(resumed.state, run_dir, sampler)
    history.go_on(cfg, position, resumed.changes)
    return resumed.state, position


def _log(
    monitor: Monitor, training: Training, done: int, passed: Passed, settings: dict[str, float], probe: Probe | None
) -> None:
    """Hand the values of a step to the monitor, with what is measured where it writes a line.

    Args:
        monitor: writes the lines.
        training: what was trained.
        done: steps.
        passed: of the last step.
        settings: its rates.
        probe: measures the trunk; None for no such measurement.
    """
    readings: dict[str, torch.Tensor | float] = {}
    if monitor.logs(done):
        with monitor.paused():
            readings |= training.health.observe(passed.targets)
            if monitor.measures(done):
                readings["effective_rank"] = training.health.effective_rank()
                readings |= probe(training.trunk) if probe else {}
    values = {"loss": passed.loss} | diagnostics.cosines(passed.online, passed.targets)
    monitor.step(done, values, settings, readings)


def _save(cfg: config.Config, training: Training, monitor: Monitor, position: Position, sampler: StepSampler) -> None:
    """One checkpoint, then the trunk; each whole or absent.

    Args:
        cfg: of the run.
        training: whose state is written.
        monitor: whose state goes with it.
        position: where the run stands.
        sampler: what an epoch is counted by.
    """
    keep, notes = cfg.run.keep_checkpoints, {"monitor": monitor.state(), NAME: position.stored()}
    checkpoint.save(Path(cfg.run_dir), position.step, training.parts(), dataclasses.asdict(cfg), keep, **notes)
    _export(cfg, training, position, sampler)


def _export(cfg: config.Config, training: Training, position: Position, sampler: StepSampler) -> None:
    """The trunk as tools/evaluate.py reads it."""
    epoch = position.place(sampler) / sampler.steps_per_epoch
    meta = records.about(cfg, position, epoch) | {"method": f"{cfg.method.name} ({LIBRARY})"}
    checkpoint.export_trunk(Path(cfg.run_dir, *EXPORT), training.trunk, cfg.model.arch, meta)
