"""Options of the evaluations, and the checks that they share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from pretrain.runtime.device import choose_device
from pretrain.runtime.errors import UserError
from transfer.analysis import READINGS
from transfer.evaluators import finetune, sgd_heads
from transfer.evaluators.sgd_heads import Head

PROBES = ("exact", "fast", "augmented")


@dataclass
class Frozen:
    """Options of `knn`, `linear` and `readings`.

    resize: short side before the centre crop, 0 for 256/224 of image_size. cache: folder that keeps features, so that
    they are made once and an interrupted evaluation goes on; several processes need one that all of them see. k: a
    further number of neighbours, at DINO's temperature. probe: exact (logistic regression on cached features, weight
    decay chosen), fast (several settings at once on cached features) or augmented (the papers' protocols), the latter
    two with the options of `head`. held_out: share of train on which the linear probe chooses. readings: which, none
    means all. images: of val for the readings that take long. workers: loader processes. threads: of the network on a
    CPU, 0 leaves torch's choice. device:
    auto|cpu|cuda.
    """

    image_size: int = 224
    resize: int = 0
    batch_size: int = 256
    cache: str = ""
    k: int = 0
    probe: str = "exact"
    head: Head = field(default_factory=Head)
    held_out: float = 0.2
    readings: list[str] = field(default_factory=list)
    images: int = 1000
    seed: int = 0
    workers: int = 4
    threads: int = 0
    device: str = "auto"


OPTIONS = {"knn": Frozen, "linear": Frozen, "readings": Frozen, "semi": finetune.FineTune}


def ready(options: Frozen | finetune.FineTune) -> torch.device:
    """Check the options that all tasks share and set the threads; the device to run on.

    Raises:
        UserError: an impossible value, or a GPU that is not there.
    """
    at_least = {"image_size": 8, "batch_size": 1, "workers": 0, "threads": 0, "resize": 0}
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UserError(f"{name}={getattr(options, name)} is too small: it must be at least {least}.")
    if 0 < options.resize < options.image_size:
        raise UserError(f"resize={options.resize} is below image_size={options.image_size}: the crop would leave it.")
    device = choose_device(options.device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _several_processes(options)
    if isinstance(options, Frozen):
        _check_frozen(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    return device


def _several_processes(options: Frozen | finetune.FineTune) -> None:
    processes = int(os.environ["WORLD_SIZE"])
    if not isinstance(options, Frozen):
        if options.batch_size % processes:
            raise UserError(
                f"batch_size={options.batch_size} cannot be shared equally by {processes} processes: choose a multiple "
                "of their number; the lrs follow."
            )
    elif not options.cache:
        raise UserError("several processes share features on disk: give cache=FOLDER, one that all of them see.")


def _check_frozen(options: Frozen) -> None:
    if not 0 < options.held_out < 1:
        raise UserError(f"held_out={options.held_out} must be between 0 and 1.")
    if options.probe not in PROBES:
        raise UserError(f"probe={options.probe} is not known: choose one of {', '.join(PROBES)}.")
    if options.k < 0:
        raise UserError(f"k={options.k} must be a number of neighbours, or 0 for none beyond the usual ones.")
    unknown = [name for name in options.readings if name not in READINGS]
    if unknown:
        raise UserError(f"readings: '{unknown[0]}' is not known: choose among {', '.join(READINGS)}.")
    if options.images < 1:
        raise UserError(f"images={options.images} must be at least 1.")
    sgd_heads.check(options.head)
