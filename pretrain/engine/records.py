"""What a run writes at its beginning and at every checkpoint: its identity, its state, its trunk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from pretrain import config
from pretrain.data.decode import DEEPEST
from pretrain.data.loader import StepSampler
from pretrain.data.sources import resolved
from pretrain.engine import checkpoint, history
from pretrain.engine.learner import Learner, untrained
from pretrain.engine.monitor.logger import Monitor
from pretrain.engine.position import NAME, Position
from pretrain.engine.recipe import fingerprint
from pretrain.engine.warm_start.origin import RECORD
from pretrain.runtime import distributed, provenance
from pretrain.runtime.files import load_torch, write_json
from pretrain.weights.formats import BITS

START = "init"  # of a checkpoint: what its run has started from, absent at random


def open_run(cfg: config.Config, learner: Learner) -> None:
    """Write what identifies a run, and its network before the first step.

    Of a run that starts from weights also what these are, and the same network at random, as all others have it.
    """
    if distributed.rank() == 0:
        history.open_history(cfg)
        export(cfg, learner, "initial.pth", None, 0.0)
        if learner.start:
            write_json(Path(cfg.run_dir, RECORD), learner.start)
            with torch.random.fork_rng(devices=[]):
                trunk = untrained(cfg)[0].online.trunk
            random = Path(cfg.run_dir, "export", "random.pth")
            checkpoint.export_trunk(random, trunk, cfg.model.arch, about(cfg, None, 0.0))


def due(run: config.Run, sampler: StepSampler, done: int) -> bool:
    """Whether a checkpoint is due after `done` of the sampler's steps: at its epochs, and at the end."""
    every = max(1, round(run.checkpoint_every_epochs * sampler.steps_per_epoch))
    return done % every == 0 or done == sampler.steps


def save(cfg: config.Config, learner: Learner, monitor: Monitor, position: Position) -> None:
    """One checkpoint and the export beside it; no rank goes on, or leaves, before they are whole.

    Args:
        cfg: of the run.
        learner: whose state is written.
        monitor: whose state goes with it.
        position: where the run stands.
    """
    parts, tree, read = learner.parts(), dataclasses.asdict(cfg), monitor.state()
    epoch = monitor.length.epoch(position.step)

    def write() -> None:
        """On rank 0 alone: the state first, so that a run killed in between has an export to complete."""
        keep, notes = cfg.run.keep_checkpoints, {"monitor": read, NAME: position.stored()}
        notes |= {START: learner.start} if learner.start else {}
        checkpoint.save(Path(cfg.run_dir), position.step, parts, tree, keep, **notes)
        export(cfg, learner, "trunk.pth", position, epoch)

    distributed.on_rank_0(write)


def complete_export(cfg: config.Config, learner: Learner, position: Position, epoch: float) -> None:
    """Make the export of the last checkpoint where a run was killed between the two.

    Args:
        cfg: of the run.
        learner: with the checkpoint's state.
        position: where the run stands.
        epoch: passes over the images by then.
    """

    def write() -> None:
        trunk = Path(cfg.run_dir, "export", "trunk.pth")
        if not trunk.is_file() or load_torch(trunk)["meta"]["step"] != position.step:
            export(cfg, learner, trunk.name, position, epoch)

    distributed.on_rank_0(write)


def export(
    cfg: config.Config, learner: Learner, name: str, position: Position | None, epoch: float, **notes: str | float
) -> None:
    """Write RUN/export/NAME, atomically.

    Args:
        cfg: of the run.
        learner: whose online trunk is exported.
        name: of the file.
        position: where the run stands, None before the first step.
        epoch: passes over the images by then.
        notes: what the file says of itself beside where it comes from.
    """
    start = {f"init_{name}": value for name, value in learner.start.items() if value}
    bits = {} if cfg.data.bits == DEEPEST else {BITS: cfg.data.bits}
    meta = {**about(cfg, position, epoch), **bits, **start, **notes}
    checkpoint.export_trunk(Path(cfg.run_dir, "export", name), learner.model.online.trunk, cfg.model.arch, meta)


def about(cfg: config.Config, position: Position | None, epoch: float) -> dict[str, Any]:
    """What an export says of its run."""
    return {
        "method": cfg.method.name,
        "step": position.step if position else 0,
        "epoch": epoch,
        "images_seen": position.seen if position else 0,
        "seed": cfg.run.seed,
        "data": resolved(cfg.data.root),
        "image_size": cfg.views.size,
        "run": str(Path(cfg.run_dir).resolve()),
        "recipe": fingerprint(dataclasses.asdict(cfg)),
        "commit": provenance.commit() or "unknown",
    }
