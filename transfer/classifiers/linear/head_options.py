"""Options of linear heads that are trained step by step. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.classifiers.schedules import SCHEDULE_HELP, SCHEDULES, check_schedule


@dataclass
class Head:
    """Every pair of a learning rate and a weight decay is a setting; all settings train at the same time."""

    optimiser: str = option("sgd", "optimiser of the heads", choices=("sgd", "lars"))
    lrs: list[float] = option(
        [0.001, 0.003, 0.01, 0.03], "learning rates of reference_batch images, scaled to the batch in use", above=0
    )
    weight_decays: list[float] = option([1e-4, 1e-3, 1e-2], "weight decays of weight and bias alike", at_least=0)
    reference_batch: int = option(256, "batch that the learning rates are meant for", above=0, unit="images")
    batch_size: int = option(256, "batch of all processes together", above=0, unit="images")
    epochs: int = option(60, "passes over train", at_least=1, at_most=1_000_000)
    schedule: str = option("cosine", SCHEDULE_HELP, choices=SCHEDULES)
    milestones: list[int] = option([60, 80], "epochs at which schedule=step lowers the learning rate", at_least=0)
    gamma: float = option(0.1, "factor on the learning rate at each milestone", above=0)
    momentum: float = option(0.9, "momentum of the optimiser", at_least=0, below=1)
    nesterov: bool = option(False, "Nesterov's momentum")
    min_scale: float = option(0.08, "smallest share of an image's area that a training crop keeps", above=0, at_most=1)


def check_head(options: Head) -> None:
    """Refuse heads that have no setting, or steps that do not fit the epochs.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    check_schedule(options, "head.")
    for name, values in (("lrs", options.lrs), ("weight_decays", options.weight_decays)):
        if not values:
            raise UserError(f"head.{name}=[] leaves no setting to train: give at least one.")
