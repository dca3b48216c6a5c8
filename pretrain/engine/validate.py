"""Everything about a configuration that can be refused before an image is read."""

from __future__ import annotations

import operator
import os
import sys
from typing import Any

import torch

from pretrain import config, methods
from pretrain.augment.multicrop import PHOTOMETRY
from pretrain.engine.learner import PRECISIONS, build_form
from pretrain.methods.memory import NegativeQueue
from pretrain.models.siamese import TRUNKS
from pretrain.optim import OPTIMISERS
from pretrain.runtime import distributed
from pretrain.runtime.device import choose_device
from pretrain.runtime.errors import UserError

CHOICES = {  # None: may be left unset
    "run.precision": tuple(PRECISIONS),
    "model.arch": TRUNKS,
    "method.positive_target": (None, *methods.TARGETS),
    "method.negative_target": (None, *methods.TARGETS),
    "optim.optimiser": OPTIMISERS,
    "views.photometry": PHOTOMETRY,
}
AT_LEAST = {
    "optim.batch_size": 2,
    "optim.epochs": 1,
    "optim.accumulate": 1,
    "mixing.cutmix_alpha": 0,
    "data.workers": 0,
    "views.size": 8,
    "views.local_count": 0,
    "views.local_size": 8,
    "model.projector_depth": 1,
    "model.projector_width": 1,
    "run.log_every": 1,
    "run.keep_checkpoints": 1,
}


def ready(cfg: config.Config) -> torch.device:
    """Check everything that can be checked without reading an image; the device to run on.

    Raises:
        UserError: a missing or impossible value.
    """
    for name in ("run_dir", "data.root"):
        if not _value(cfg, name):
            raise UserError(f"{name} is not set: add {name}=FOLDER to the command or the configuration.")
    for name, known in CHOICES.items():
        if (value := _value(cfg, name)) not in known:
            raise UserError(f"{name}={value} is not known: choose one of {', '.join(filter(None, known))}.")
    for name, least in AT_LEAST.items():
        if (value := _value(cfg, name)) < least:
            raise UserError(f"{name}={value} is too small: it must be at least {least}.")
    _check_views(cfg.views)
    _check_method(cfg)
    if not 0 <= cfg.optim.warmup_epochs < cfg.optim.epochs:
        raise UserError(f"optim.warmup_epochs={cfg.optim.warmup_epochs} must be at least 0 and below optim.epochs.")
    if cfg.optim.bias_base_lr is not None and cfg.optim.base_lr == 0:
        raise UserError("optim.bias_base_lr is a share of optim.base_lr, which is 0: give a base_lr above 0.")
    device = choose_device(cfg.run.device, "run.device")
    _warn_of_workers(cfg.data.workers)
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    return device


def _value(cfg: config.Config, name: str) -> Any:
    """Of the option that is written `section.key`."""
    return operator.attrgetter(name)(cfg)


def _check_views(views: config.Views) -> None:
    for name in ("jitter", "gray", "blur", "flip"):
        if not 0 <= (chance := getattr(views, f"{name}_probability")) <= 1:
            raise UserError(f"views.{name}_probability={chance} is no probability: choose a number from 0 to 1.")
    for kind in ("", "local_"):
        least, most = getattr(views, f"{kind}min_scale"), getattr(views, f"{kind}max_scale")
        if not 0 < least <= most <= 1:
            raise UserError(
                f"views.{kind}min_scale={least} and views.{kind}max_scale={most} must be shares of an image's area, "
                "above 0, at most 1, the lesser first."
            )
    for name in ("brightness", "contrast", "saturation"):
        if getattr(views, name) < 0:
            raise UserError(f"views.{name}={getattr(views, name)} is negative: 0 leaves it out.")
    if not 0 <= views.hue <= 0.5:
        raise UserError(f"views.hue={views.hue} is outside 0 to 0.5 turns.")


def _warn_of_workers(workers: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers > cores and distributed.rank() == 0:
        print(
            f"warning: data.workers={workers} is more than the {cores} cores of this machine, which slows all "
            "of them down: lower it.",
            file=sys.stderr,
            flush=True,
        )


def _check_method(cfg: config.Config) -> None:
    """A form is built and thrown away, so that every option that it refuses is refused before the images are read."""
    form, samples = build_form(cfg), 2 * cfg.optim.batch_size
    queue = form.samples.size if isinstance(getattr(form, "samples", None), NegativeQueue) else samples
    if queue % samples:
        raise UserError(
            f"method.queue_size={queue} is not divisible by the {samples} samples of a step (two views of "
            f"optim.batch_size={cfg.optim.batch_size}): choose a multiple."
        )
