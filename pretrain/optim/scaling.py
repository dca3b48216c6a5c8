"""What changes with the batch: the learning rate, and the momentum of the target. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable

BATCH = 256  # images, the batch that optim.base_lr is for
SCALINGS: dict[str, Callable[[float], float]] = {  # from the batch over BATCH to the learning rate over base_lr
    "linear": lambda batches: batches,
    "sqrt": lambda batches: batches**0.5,
    "none": lambda batches: 1.0,
}


def peak(base_lr: float, batch_size: int, scaling: str = "linear") -> float:
    """The highest learning rate: base_lr · B/256 (Goyal et al., 2017), base_lr · √(B/256) (SimCLR), or base_lr.

    Args:
        base_lr: for a batch of 256 images; with scaling none, for any.
        batch_size: B, images of a step.
        scaling: a name of SCALINGS.
    """
    return base_lr * SCALINGS[scaling](batch_size / BATCH)


def momentum_at(momentum: float, batch_size: int, reference: int | None) -> float:
    """The momentum of a moving average over a batch of another size: m^(B/B0), the EMA scaling rule.

    A target that keeps m of itself at each step of B0 images then keeps the same share over the same images, whatever
    the batch (Busbridge et al., How to Scale Your EMA, NeurIPS 2023, Definition 1.2).

    Args:
        momentum: m, at a batch of `reference`.
        batch_size: B, images of a step.
        reference: B0; None leaves m as it is.
    """
    return momentum if reference is None else momentum ** (batch_size / reference)
