"""Pretraining, in the order in which it happens: the order of the steps is the algorithm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn
from torch.utils.data import DataLoader

from pretrain import checkpoint, comm, config, methods, provenance, schedule
from pretrain.batchnorm import synchronise
from pretrain.data import ImageSource, StepSampler, ViewDataset, collate, open_folder
from pretrain.errors import UserError
from pretrain.files import write_text
from pretrain.model import TRUNKS, Siamese
from pretrain.monitor import Monitor, draw_views
from pretrain.objective import objective
from pretrain.views import TwoCrop, normalise

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass
class Learner:
    """What a step changes. `branch` is the model's online branch, wrapped so that ranks average its gradients."""

    model: Siamese
    branch: nn.Module
    form: methods.GradientForm
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    lr: ParamScheduler
    target_momentum: ParamScheduler
    device: torch.device
    dtype: torch.dtype

    def parts(self) -> dict[str, object]:
        """All state of a run, by its name in a checkpoint; the order of images is a function of seed and step."""
        return {"model": self.model, "form": self.form, "optimizer": self.optimizer, "scaler": self.scaler}


def train(cfg: config.Config) -> Path:
    """Pretrain a trunk as `cfg` says, or go on where an earlier run in the same run_dir stopped.

    Returns: RUN/export/trunk.pth. Beside it stands initial.pth, the same network before the first step.

    Raises:
        UserError: anything in `cfg`, the images or an existing run folder that cannot work, before the first step.
    """
    device = ready(cfg)
    source = open_folder(cfg.data.root)
    comm.start(device)
    try:
        sampler = StepSampler(
            len(source), cfg.optim.batch_size, cfg.optim.epochs, cfg.run.seed, comm.rank(), comm.world_size()
        )
        run(cfg, source, sampler, build(cfg, device))
    finally:
        comm.stop()
    return Path(cfg.run_dir) / "export" / "trunk.pth"


def run(cfg: config.Config, source: ImageSource, sampler: StepSampler, learner: Learner) -> None:
    """All steps from the newest checkpoint on, with what is written along the way."""
    run_dir, steps, per_epoch = Path(cfg.run_dir), sampler.steps, sampler.steps_per_epoch
    start = checkpoint.resume(run_dir, learner.parts(), dataclasses.asdict(cfg), tell=_say)
    sampler.start = start
    if start == 0:
        _open(cfg, learner)
    checkpoint_every = max(1, round(cfg.run.checkpoint_every_epochs * per_epoch))
    _say(
        f"{len(source)} images, {steps} steps of {cfg.optim.batch_size}, from step {start}, on {comm.world_size()} x "
        f"{learner.device}; balance / width = {cfg.method.balance / cfg.model.projector_width:.3g}"
    )
    with Monitor(run_dir, learner.device, start, steps, cfg.optim.batch_size, per_epoch, cfg.run.log_every) as monitor:
        for done, (images, unreadable) in enumerate(monitor.timed(make_loader(cfg, source, sampler)), start + 1):
            monitor.skipped(unreadable)
            if done == 1 and comm.rank() == 0:
                draw_views(run_dir / "views.png", images)
            terms, settings = step(learner, images, (done - 1) / steps)
            health = learner.form.health() if done % per_epoch == 0 or done == steps else {}
            monitor.step(done, terms, settings, health)
            if done % checkpoint_every == 0 or done == steps:
                _save(cfg, learner, done, done / per_epoch)


def step(learner: Learner, images: torch.Tensor, where: float) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """One step of training, in the official code's order; nothing in it waits for the device.

    Args: images, uint8 (2, n, 3, S, S), both views of this rank's images; where, share of the run done, from 0 to 1.
    Returns: scalars on the device, and the settings of this step.
    """
    lr, momentum = learner.lr(where), learner.target_momentum(where)
    for group in learner.optimizer.param_groups:
        group["lr"] = lr
    learner.model.update_target(momentum)
    images = images.to(learner.device, non_blocking=True)
    views = normalise(images).to(torch.promote_types(learner.dtype, torch.float32))
    with torch.autocast(learner.device.type, learner.dtype, enabled=learner.dtype.itemsize < 4):
        with torch.no_grad():
            targets = learner.model.target(views)
        online = learner.branch(views)
    terms = objective(learner.form, online, targets)
    learner.optimizer.zero_grad()
    learner.scaler.scale(terms["positive"] + terms["negative"]).backward()
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    return terms | {"positive_cosine": -terms["positive"]}, {"lr": lr, "target_momentum": momentum}


def ready(cfg: config.Config) -> torch.device:
    """Check everything that can be checked without reading an image; the device to run on.

    Raises:
        UserError: a missing or impossible value.
    """
    for name, value in {"run_dir": cfg.run_dir, "data.root": cfg.data.root}.items():
        if not value:
            raise UserError(f"{name} is not set: add {name}=FOLDER to the command or the configuration.")
    choices = {
        "run.precision": (cfg.run.precision, tuple(PRECISIONS)),
        "model.arch": (cfg.model.arch, TRUNKS),
        "method.name": (cfg.method.name, tuple(methods.TABLE_2)),
        "run.device": (cfg.run.device, ("auto", "cpu", "cuda")),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{name}={value} is not known: choose one of {', '.join(known)}.")
    at_least = {
        "optim.batch_size": (cfg.optim.batch_size, 2),
        "optim.epochs": (cfg.optim.epochs, 1),
        "views.size": (cfg.views.size, 8),
        "model.projector_depth": (cfg.model.projector_depth, 1),
        "model.projector_width": (cfg.model.projector_width, 1),
        "run.log_every": (cfg.run.log_every, 1),
        "run.keep_checkpoints": (cfg.run.keep_checkpoints, 1),
    }
    for name, (value, least) in at_least.items():
        if value < least:
            raise UserError(f"{name}={value} is too small: it must be at least {least}.")
    if not 0 <= cfg.optim.warmup_epochs < cfg.optim.epochs:
        raise UserError(f"optim.warmup_epochs={cfg.optim.warmup_epochs} must be at least 0 and below optim.epochs.")
    if cfg.run.device == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device=cuda, but torch sees no GPU: use run.device=cpu or install a CUDA build of torch.")
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    on_gpu = cfg.run.device == "cuda" or (cfg.run.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda", comm.local_rank()) if on_gpu else torch.device("cpu")


def build(cfg: config.Config, device: torch.device) -> Learner:
    """Network, method and optimiser as `cfg` says, at their random initialisation drawn from run.seed."""
    torch.manual_seed(cfg.run.seed)
    model = synchronise(Siamese(**vars(cfg.model)), device).to(device, memory_format=torch.channels_last)
    method = vars(cfg.method) | {"width": cfg.model.projector_width}
    optim = cfg.optim
    return Learner(
        model=model,
        branch=comm.data_parallel(model.online, device),
        form=methods.build(**method).to(device),
        optimizer=torch.optim.SGD(
            model.online.parameters(), optim.base_lr, optim.momentum, weight_decay=optim.weight_decay
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=cfg.run.precision == "fp16"),
        lr=schedule.warmup_cosine(optim.base_lr * optim.batch_size / 256, optim.warmup_epochs / optim.epochs),
        target_momentum=schedule.target_momentum(optim.target_momentum),
        device=device,
        dtype=PRECISIONS[cfg.run.precision],
    )


def make_loader(cfg: config.Config, source: ImageSource, sampler: StepSampler) -> DataLoader:
    """Batches of uint8 views, pinned where there is a GPU to copy them to, for all remaining steps."""
    return DataLoader(
        ViewDataset(source, TwoCrop(**vars(cfg.views)), cfg.run.seed),
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
