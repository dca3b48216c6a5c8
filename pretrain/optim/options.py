"""The options of a run's optimiser, of its rates and of its target's momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pretrain.optim.exclusions import EXCLUSIONS
from pretrain.optim.optimisers import NAMES
from pretrain.optim.scaling import SCALINGS
from pretrain.runtime.options import FIXED, FREE, TOLD, Further, option


@dataclass
class Optim:
    """The optimiser. lr = base_lr × batch_size / 256, with a linear warm-up, then a cosine to 0.

    Each optimiser has further options of its own, `--help optim`.
    """

    optimiser: str = option("sgd", "sgd for 100 epochs, lars for 800 (Appendix B)", choices=NAMES, resume=FIXED)
    epochs: int = option(100, "passes over the images", at_least=1, at_most=1_000_000, unit="epochs", resume=FREE)
    warmup_epochs: int = option(5, "epochs in which the rate rises from 0", at_least=0, unit="epochs", resume=FREE)
    batch_size: int = option(1024, "images of a step, of all ranks together", at_least=2, unit="images", resume=TOLD)
    base_lr: float = option(0.05, "learning rate for each 256 images of a batch", at_least=0, resume=FREE)
    bias_base_lr: float | None = option(
        None, "the same for biases and norms; unset is base_lr", at_least=0, resume=FREE
    )
    lr_scaling: str = option(
        "linear",
        "how the learning rate grows with batch_size / 256: linear, by its root, or not at all",
        choices=tuple(SCALINGS),
        resume=FREE,
    )
    final_lr_share: float = option(
        0.0, "where the cosine ends, as a share of the highest learning rate", at_least=0, at_most=1, resume=FREE
    )
    predictor_lr: str = option(
        "schedule",
        "learning rate of the predictor of row c; constant: the highest one from the first step to the last (SimSiam)",
        choices=("schedule", "constant"),
        resume=FIXED,
    )
    accumulate: int | Literal["auto"] = option(
        1,
        "parts that a rank passes its share of a batch in, for small GPUs (pretrain/engine/accumulation.py); auto: the "
        "fewest that fit into the GPU's memory",
        at_least=1,
        resume=TOLD,
    )
    momentum: float = option(0.9, "momentum of the optimiser; β1 of adamw and lamb", at_least=0, below=1, resume=FREE)
    weight_decay: float = option(1e-4, "weight decay", at_least=0, resume=FREE)
    exclude: str | None = option(
        None,
        "what is left out of decay and adaptation; vectors: biases and norms; unset: none under sgd, else vectors",
        choices=tuple(EXCLUSIONS),
        resume=FIXED,
    )
    target_momentum: float = option(
        0.996,
        "share that the target branch keeps at the first step; it rises to target_momentum_end",
        at_least=0,
        at_most=1,
        resume=FREE,
    )
    target_momentum_end: float = option(1.0, "the same at the last step", at_least=0, at_most=1, resume=FREE)
    target_momentum_batch: int | None = option(
        None,
        "batch B0 that target_momentum is for; a batch of B takes m^(B/B0), which follows as fast over the "
        "same images (Busbridge et al., 2023); unset: m as it is",
        at_least=1,
        unit="images",
        resume=FREE,
    )

    @staticmethod
    def further(written: Mapping[str, Any]) -> Further:
        """The options of the optimiser that is named.

        Raises:
            UserError: there is no such optimiser.
        """
        from pretrain.optim import build  # here, since optimisers import torch and this file answers --help

        name = str(written.get("optimiser", "sgd"))
        everywhere = {key for one in NAMES for key in vars(build.find(one).options())}
        return Further(name, build.find(name).options, frozenset(everywhere))
