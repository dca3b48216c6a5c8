"""What can be refused in a configuration before an image is read: values out of range, and options that do not fit."""

from __future__ import annotations

import os
import sys

import torch

from pretrain import config
from pretrain.data.site.standing_in import NO_DATA
from pretrain.engine import statistics
from pretrain.engine.learner import build_form
from pretrain.engine.monitor.tracking import check_trackers
from pretrain.engine.warm_start.origin import check_options
from pretrain.methods.memory import NegativeQueue
from pretrain.models.trunks import check_trunk
from pretrain.runtime import distributed
from pretrain.runtime.devices.device import choose_device
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import check
from pretrain.runtime.urls import hide


def ready(cfg: config.Config) -> torch.device:
    """Check everything that can be checked without reading an image; the device to run on.

    Raises:
        UserError: a missing or impossible value.
    """
    if not cfg.run_dir:
        raise UserError("run_dir is not set: add run_dir=FOLDER to the command or the configuration.")
    if not cfg.data.root:
        raise UserError(NO_DATA)
    cfg.data.root, cfg.data.val, cfg.data.images_root = map(hide, (cfg.data.root, cfg.data.val, cfg.data.images_root))
    check(cfg)
    _check_scales(cfg.views)
    _check_trunk(cfg)
    statistics.check(cfg.data)
    _check_optim(cfg.optim)
    _check_method(cfg)
    _check_kept(cfg)
    check_options(cfg)
    check_trackers(cfg.run)
    device = choose_device(cfg.run.device, "run.device", cfg.run.tf32, fixed_shapes=True)
    _check_graphs(cfg.run, device)
    _warn_of_workers(cfg.data.workers)
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    return device


def _check_trunk(cfg: config.Config) -> None:
    sizes = [cfg.views.size, *([cfg.views.local_size] if cfg.views.local_count else [])]
    check_trunk(cfg.model.arch, cfg.data.channels, sizes)


def _check_scales(views: config.Views) -> None:
    for kind in ("", "local_"):
        least, most = getattr(views, f"{kind}min_scale"), getattr(views, f"{kind}max_scale")
        if least > most:
            raise UserError(
                f"views.{kind}min_scale={least} is above views.{kind}max_scale={most}: give the lesser share first."
            )


def _check_optim(optim: config.Optim) -> None:
    if optim.warmup_epochs >= optim.epochs:
        raise UserError(f"optim.warmup_epochs={optim.warmup_epochs} must be below optim.epochs={optim.epochs}.")
    if optim.bias_base_lr is not None and optim.base_lr == 0:
        raise UserError("optim.bias_base_lr is a share of optim.base_lr, which is 0: give a base_lr above 0.")


def _check_method(cfg: config.Config) -> None:
    """Build a form, so that what its row refuses is refused now, and look whether views and queue fit it."""
    form, views = build_form(cfg), cfg.views.global_count
    if views > 2 and not form.linear_in_targets:
        raise UserError(
            f"views.global_count={views} does not go with method.name={cfg.method.name}, whose gradient pairs two "
            "views and is no mean over several: leave it at 2; views.local_count adds small views."
        )
    for part in form.modules():
        if isinstance(part, NegativeQueue):
            part.check_fits(views * cfg.optim.batch_size)


def _check_kept(cfg: config.Config) -> None:
    if cfg.run.keep_best == "knn_top1" and not cfg.data.val:
        raise UserError(
            "run.keep_best=knn_top1 needs k-NN accuracy along the run: add data.val=FOLDER with class folders, or "
            "choose run.keep_best=effective_rank."
        )


def _check_graphs(run: config.Run, device: torch.device) -> None:
    if run.cuda_graphs and (device.type != "cuda" or run.compile is False):
        lacks = "a GPU" if device.type != "cuda" else "run.compile, which is false"
        raise UserError(f"run.cuda_graphs=true needs {lacks}: leave it out.")


def _warn_of_workers(workers: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers > cores and distributed.rank() == 0:
        print(
            f"warning: data.workers={workers} is more than the {cores} cores of this machine, which slows all "
            "of them down: lower it.",
            file=sys.stderr,
            flush=True,
        )
