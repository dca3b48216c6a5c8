"""Options of fine-tuning on few labels. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.classifiers.schedules import SCHEDULE_HELP, SCHEDULES, check_schedule
from transfer.options import Common


@dataclass
class FineTune:
    """The learning rates are those of `reference_batch` images and are scaled linearly to the batch in use."""

    image_list: str = option("", "text file with the labelled images' names; without it `fraction` is drawn", path=True)
    max_absent: float = option(
        0.01, "share of the listed names of known classes that may have no image", at_least=0, at_most=1
    )
    fraction: float = option(1.0, "share of the mean class size that is labelled", above=0, at_most=1)
    sweep: list[float] = option(
        [], "learning rates of trunk and head alike, of which the best is chosen on other images (BYOL)", above=0
    )
    sweep_images: int = option(10009, "images of train without a label on which a sweep chooses", at_least=1)
    reference_batch: int = option(256, "batch that the learning rates are meant for", above=0, unit="images")
    lr_trunk: float = option(0.02, "learning rate of the trunk", above=0)
    lr_head: float = option(0.2, "learning rate of the classifier", above=0)
    epochs: int = option(20, "passes over the labelled images", at_least=1, at_most=1_000_000)
    schedule: str = option("cosine", SCHEDULE_HELP, choices=SCHEDULES)
    milestones: list[int] = option([12, 16], "epochs at which schedule=step lowers the learning rate", at_least=0)
    gamma: float = option(0.2, "factor on the learning rate at each milestone", above=0)
    momentum: float = option(0.9, "momentum of SGD", at_least=0, below=1)
    nesterov: bool = option(False, "Nesterov's momentum")
    weight_decay: float = option(0.0, "weight decay of trunk and classifier", at_least=0)
    min_scale: float = option(0.08, "smallest share of an image's area that a training crop keeps", above=0, at_most=1)
    precision: str = option("fp32", "number format of the network's forward pass", choices=("fp32", "bf16"))


def check_finetuning(options: FineTune, common: Common) -> None:
    """Refuse values that cannot work together, before any image is read.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    check_schedule(options)
    if common.batch_size < 2:
        raise UserError(f"batch_size={common.batch_size} is too small: batch norm needs at least 2 images.")
    if options.nesterov and options.momentum <= 0:
        raise UserError(f"nesterov=true needs a momentum above 0, not {options.momentum}.")
