"""Pretraining, in the order in which it happens: the order of the steps is the algorithm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from pretrain import checkpoint, comm, config, diagnostics, methods, photometry, provenance, replay
from pretrain.data import Batch, ImageSource, StepSampler, ViewDataset, collate, open_source
from pretrain.files import write_text
from pretrain.learner import Learner, build
from pretrain.monitor import Alarm, Length, Monitor, draw_views
from pretrain.objective import objective
from pretrain.ready import ready
from pretrain.views import MultiCrop, place


class Stepped(NamedTuple):
    """One step: values, scalars on the device; settings, the lr and the like; online and target rows (V, n, C)."""

    values: dict[str, torch.Tensor]
    settings: dict[str, float]
    online: torch.Tensor
    targets: torch.Tensor


Probe = Callable[[nn.Module], dict[str, float]]


def train(cfg: config.Config, probe: Probe | None = None) -> Path:
    """Pretrain a trunk as `cfg` says, or go on where an earlier run in the same run_dir stopped.

    Args: probe, measures the trunk every run.measure_every_epochs, on rank 0; its readings join the metrics.

    Returns: RUN/export/trunk.pth. Beside it stands initial.pth, the same network before the first step.

    Raises:
        UserError: anything in `cfg`, the images or an existing run folder that cannot work, before the first step.
    """
    device = ready(cfg)
    if cfg.method.balance is None:
        cfg.method.balance = methods.balance_at(cfg.method.name, cfg.model.projector_width)
    source = open_source(cfg.data.root)
    comm.start(device)
    try:
        sampler = StepSampler(
            len(source), cfg.optim.batch_size, cfg.optim.epochs, cfg.run.seed, comm.rank(), comm.world_size()
        )
        run(cfg, source, sampler, build(cfg, device), probe)
    finally:
        comm.stop()
    return Path(cfg.run_dir) / "export" / "trunk.pth"


def run(
    cfg: config.Config, source: ImageSource, sampler: StepSampler, learner: Learner, probe: Probe | None = None
) -> None:
    """All steps from the newest checkpoint on, with what is written along the way."""
    run_dir, steps, per_epoch = Path(cfg.run_dir), sampler.steps, sampler.steps_per_epoch
    start = checkpoint.resume(run_dir, learner.parts(), dataclasses.asdict(cfg), tell=_say)
    sampler.start = start
    if start == 0:
        _open(cfg, learner)
    checkpoint_every = max(1, round(cfg.run.checkpoint_every_epochs * per_epoch))
    _say(
        f"{cfg.method.name}: {len(source)} images, {steps} steps of {cfg.optim.batch_size}, from step {start}, on "
        f"{comm.world_size()} x {learner.device}; balance {cfg.method.balance}, width {cfg.model.projector_width}"
    )
    loader = make_loader(cfg, source, sampler, learner.device)
    length = Length(start, steps, per_epoch, cfg.optim.batch_size)
    with Monitor(cfg.run, run_dir, learner.device, length) as monitor:
        for done, batch in enumerate(monitor.timed(loader), start + 1):
            monitor.skipped(batch.unreadable)
            if done == 1 and comm.rank() == 0:
                draw_views(run_dir / "views.png", photometry.pictures(batch)[0])
            stepped = step(learner, batch, (done - 1) / steps)
            readings = {}
            if monitor.logs(done):
                with monitor.paused():
                    readings = read(learner, stepped, monitor.measures(done), probe)
            try:
                monitor.step(done, stepped.values, stepped.settings, readings)
            except Alarm as alarm:
                _keep_for_replay(cfg, learner, loader, sampler, alarm)
                raise
            if done % checkpoint_every == 0 or done == steps:
                _save(cfg, learner, done, done / per_epoch)


def step(learner: Learner, batch: Batch, where: float) -> Stepped:
    """One step of training, in the official code's order; nothing in it waits for the device.

    Args: batch, the views of this rank's images; where, share of the run done, from 0 to 1.
    """
    lr, momentum = learner.lr(where), learner.target_momentum(where)
    for group in learner.optimizer.param_groups:
        group["lr"] = lr
    views = photometry.finish(batch, learner.device)[0].to(torch.promote_types(learner.dtype, torch.float32))
    rows = {}
    with torch.autocast(learner.device.type, learner.dtype, enabled=learner.dtype.itemsize < 4):
        if "momentum" in learner.targets:
            learner.model.update_target(momentum)
            with torch.no_grad():
                rows["momentum"] = learner.model.target(views)
        online = learner.branch(views)
    rows["stop_gradient"] = online.detach()
    targets, negative_targets = (rows[branch] for branch in learner.targets)
    terms = objective(learner.form, online, targets, negative_targets=negative_targets)
    learner.optimizer.zero_grad()
    learner.scaler.scale(terms["positive"] + terms["negative"]).backward()
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    values = terms | diagnostics.cosines(online, targets)
    return Stepped(values, {"lr": lr, "target_momentum": momentum}, online.detach(), targets)


def read(learner: Learner, stepped: Stepped, measure: bool, probe: Probe | None) -> dict[str, torch.Tensor | float]:
    """What is read where a line is logged; with `measure` also what waits for the device."""
    readings = learner.health.observe(stepped.targets)
    readings |= diagnostics.figure_3(learner.form, stepped.online[0], stepped.targets[1])
    if measure:
        readings["effective_rank"] = learner.health.effective_rank()
        if probe and comm.rank() == 0:
            readings |= probe(learner.model.online.trunk)
    return readings


def make_loader(cfg: config.Config, source: ImageSource, sampler: StepSampler, device: torch.device) -> DataLoader:
    """Batches of uint8 views, pinned where there is a GPU to copy them to, for all remaining steps."""
    views = vars(cfg.views) | {"photometry": place(cfg.views.photometry, device)}
    return DataLoader(
        ViewDataset(source, MultiCrop(**views), cfg.run.seed),
        batch_sampler=sampler,
        num_workers=cfg.data.workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_threaded,
        prefetch_factor=4 if cfg.data.workers else None,
    )


def _single_threaded(_: int) -> None:
    torch.set_num_threads(1)


def _open(cfg: config.Config, learner: Learner) -> None:
    """Write what identifies a run, and its network before the first step."""
    if comm.rank() == 0:
        run_dir = Path(cfg.run_dir)
        write_text(run_dir / "config.yaml", config.dump(cfg))
        write_text(run_dir / "command.txt", provenance.command())
        _export(cfg, learner, "initial.pth", 0, 0.0)


def _save(cfg: config.Config, learner: Learner, done: int, epoch: float) -> None:
    if comm.rank() == 0:
        parts, tree = learner.parts(), dataclasses.asdict(cfg)
        checkpoint.save(Path(cfg.run_dir), done, parts, tree, cfg.run.keep_checkpoints)
        _export(cfg, learner, "trunk.pth", done, epoch)


def _keep_for_replay(
    cfg: config.Config, learner: Learner, loader: DataLoader, sampler: StepSampler, alarm: Alarm
) -> None:
    """The views of a step follow from its keys, so the offending batch is made again rather than every batch held."""
    batch = collate([loader.dataset[key] for key in sampler.keys(alarm.step - 1)])
    folder = replay.keep(Path(cfg.run_dir), alarm.step, batch, learner.parts(), dataclasses.asdict(cfg))
    _say(f"kept for replay: the offending batch and the state before and after it, under {folder}")


def _export(cfg: config.Config, learner: Learner, name: str, done: int, epoch: float) -> None:
    meta = {
        "method": cfg.method.name,
        "step": done,
        "epoch": epoch,
        "images_seen": done * cfg.optim.batch_size,
        "seed": cfg.run.seed,
        "data": str(Path(cfg.data.root).resolve()),
        "image_size": cfg.views.size,
        "run": str(Path(cfg.run_dir).resolve()),
        "commit": provenance.commit() or "unknown",
    }
    checkpoint.export_trunk(Path(cfg.run_dir, "export", name), learner.model.online.trunk, cfg.model.arch, meta)


def _say(sentence: str) -> None:
    if comm.rank() == 0:
        print(sentence, flush=True)
