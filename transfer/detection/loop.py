"""The iterations of a fine-tuning: detectron2's trainer, hooks and checkpoints, and what is kept when it diverges."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.engine import AMPTrainer, SimpleTrainer, TrainerBase, default_writers, hooks
from detectron2.projects.deeplab import build_lr_scheduler  # detectron2's own, and DeepLab's polynomial one
from detectron2.solver import build_optimizer
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from pretrain.runtime import distributed
from pretrain.runtime.devices import device_memory
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import save_torch
from pretrain.runtime.processes.signals import Wish
from pretrain.runtime.processes.watch import deaths_told
from transfer.detection.data.loading import Watched
from transfer.detection.losses import NEVER, PERIOD, Losses, NotFinite
from transfer.detection.stop import StopOnSignal
from transfer.detection.tasks import task_of

DIVERGED = "diverged.pth"
KEPT_CHECKPOINTS = 2


def run_iterations(cfg: CfgNode, model: nn.Module, device: torch.device, out: Path, resume: bool) -> None:
    """Train `model` to SOLVER.MAX_ITER; it is left with its final weights and, if so configured, precise BN.

    Args:
        cfg: with the names of the splits in detectron2's catalogues.
        model: on the device.
        device: of this rank.
        out: folder of logs and checkpoints.
        resume: go on from the newest checkpoint in `out`, if there is one.

    Raises:
        UserError: the loss is no longer finite; OUT/diverged.pth then holds the state before that step.
        Stopped: a signal asked for it; a checkpoint was written.
    """
    optimizer = build_optimizer(cfg, model)
    parallel = distributed.data_parallel(model, device)
    loader = _train_loader(cfg)
    kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
    trainer = kind(parallel, loader, optimizer, gather_metric_period=NEVER)
    checkpointer = DetectionCheckpointer(parallel, str(out), trainer=trainer)
    wish, losses = Wish(), Losses(optimizer, cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.CHECKPOINT_PERIOD)
    usual = _hooks(cfg, parallel, optimizer, checkpointer, out)
    trainer.register_hooks([losses, *usual, StopOnSignal(checkpointer, wish, losses.check)])
    first = 0
    if resume and checkpointer.has_checkpoint():
        checkpointer.resume_or_load("", resume=True)
        first = trainer.iter + 1
        if distributed.rank() == 0:
            print(f"note: going on from iteration {first} of {cfg.SOLVER.MAX_ITER}.", flush=True)
    if first >= cfg.SOLVER.MAX_ITER:  # an earlier run trained to the end; only the evaluation is left
        return
    try:
        with wish.listening(), deaths_told(loader.patience), faults_told(cfg, device):
            trainer.train(first, cfg.SOLVER.MAX_ITER)
    except FloatingPointError as error:
        iteration = error.iteration if isinstance(error, NotFinite) else trainer.iter
        kept = _keep_diverged(model, trainer, iteration, out)
        raise UserError(
            f"the loss is no longer finite at iteration {iteration} ({' '.join(str(error).split())}); {kept} holds "
            "the state before that step: lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_ITERS."
        ) from error


@contextlib.contextmanager
def faults_told(cfg: CfgNode, device: torch.device) -> Iterator[None]:
    """End in a sentence where memory runs out within, or another rank is gone."""
    remedy = f"lower SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH} or INPUT.MIN_SIZE_TRAIN"
    with distributed.departure_told(), device_memory.shortage_told(device, remedy):
        yield


def _train_loader(cfg: CfgNode) -> Watched:
    loader = build_detection_train_loader(cfg, mapper=task_of(cfg).mapper(cfg, True))
    return Watched(loader, ", ".join(cfg.DATASETS.TRAIN))


def _keep_diverged(model: nn.Module, trainer: TrainerBase, iteration: int, out: Path) -> Path:
    """Save weights, optimiser and iteration; not as a checkpoint, so that no run goes on from it."""
    state = {"model": model.state_dict(), "trainer": trainer.state_dict(), "iteration": iteration}
    return save_torch(out / DIVERGED, state) if distributed.rank() == 0 else out / DIVERGED


def _hooks(
    cfg: CfgNode,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpointer: DetectionCheckpointer,
    out: Path,
) -> list[hooks.HookBase | None]:
    """detectron2's usual hooks in its usual order; precise BN comes before the checkpoint, which must hold it."""
    precise = None
    if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(model):
        here = cfg.clone()
        here.DATALOADER.NUM_WORKERS = 0  # a second set of workers would idle through the whole training
        loader = _train_loader(here)
        precise = hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)
    usual = [hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)), precise]
    if distributed.rank() == 0:
        usual.append(
            hooks.PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=KEPT_CHECKPOINTS)
        )
        usual.append(hooks.PeriodicWriter(default_writers(str(out), cfg.SOLVER.MAX_ITER), period=PERIOD))
    return usual
