"""What a run writes at its beginning and at every checkpoint: its identity, its state, its trunk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pretrain import config
from pretrain.engine import checkpoint, history
from pretrain.engine.learner import Learner
from pretrain.engine.logger import Monitor
from pretrain.engine.position import NAME, Position
from pretrain.runtime import distributed, provenance
from pretrain.runtime.files import load_torch


def open_run(cfg: config.Config, learner: Learner) -> None:
    """Write what identifies a run, and its network before the first step."""
    if distributed.rank() == 0:
        history.open_history(cfg)
        export(cfg, learner, "initial.pth", None, 0.0)


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
        keep, notes = cfg.run.keep_checkpoints, {"monitor": read, NAME: position.stored()}
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
    meta = {
        "method": cfg.method.name,
        "step": position.step if position else 0,
        "epoch": epoch,
        "images_seen": position.seen if position else 0,
        "seed": cfg.run.seed,
        "data": str(Path(cfg.data.root).resolve()),
        "image_size": cfg.views.size,
        "run": str(Path(cfg.run_dir).resolve()),
        "commit": provenance.commit() or "unknown",
        **notes,
    }
    checkpoint.export_trunk(Path(cfg.run_dir, "export", name), learner.model.online.trunk, cfg.model.arch, meta)
