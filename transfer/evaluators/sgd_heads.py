"""Linear classifiers on frozen features, several settings trained at the same time on the same batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from pretrain.optim import trust_ratios
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.evaluators import schedules
from transfer.evaluators.accuracy import hits

OPTIMISERS = ("sgd", "lars")
TRUST = 1e-3  # of LARS, as in apex's LARC and SimSiam's lineval
CHUNK = 2**12  # rows scored at once


@dataclass
class Head:
    """Options of heads that are trained step by step (probe=fast and probe=augmented).

    lrs, weight_decays: every pair is a setting; the lrs are those of `reference_batch` images and are scaled linearly
    to the batch in use. optimiser: sgd|lars. schedule: cosine to 0, step (× gamma at each of `milestones`, in epochs)
    or constant. batch_size: of all ranks. min_scale: smallest share of an image's area that a training crop keeps.
    """

    optimiser: str = "sgd"
    lrs: list[float] = field(default_factory=lambda: [0.001, 0.003, 0.01, 0.03])
    weight_decays: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2])
    reference_batch: int = 256
    batch_size: int = 256
    epochs: int = 60
    schedule: str = "cosine"
    milestones: list[int] = field(default_factory=lambda: [60, 80])
    gamma: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    min_scale: float = 0.08


class Setting(NamedTuple):
    """lr: of the batch in use. weight_decay: of weight and bias alike, as torch's SGD has it."""

    lr: float
    weight_decay: float


def check(options: Head) -> None:
    """Refuse values that cannot work.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    if options.optimiser not in OPTIMISERS:
        raise UserError(f"head.optimiser={options.optimiser} is not known: choose one of {', '.join(OPTIMISERS)}.")
    for name in ("reference_batch", "batch_size", "epochs", "gamma", "min_scale"):
        if not getattr(options, name) > 0:
            raise UserError(f"head.{name}={getattr(options, name)} must be above 0.")
    schedules.check(options, "head.")
    if not options.lrs or not all(lr > 0 for lr in options.lrs):
        raise UserError(f"head.lrs={options.lrs} must hold learning rates above 0.")
    if not options.weight_decays or not all(decay >= 0 for decay in options.weight_decays):
        raise UserError(f"head.weight_decays={options.weight_decays} must hold values of at least 0.")


def settings(options: Head, batch_size: int) -> list[Setting]:
    """Every pair of lr and weight decay, the lr scaled from `reference_batch` to `batch_size` images."""
    scale = batch_size / options.reference_batch
    return [Setting(lr * scale, decay) for lr in options.lrs for decay in options.weight_decays]


def name(setting: Setting) -> str:
    """A setting in words."""
    return f"lr {setting.lr:g}, wd {setting.weight_decay:g}"


def said(options: Head, batch_size: int) -> str:
    """The scaling in words."""
    lrs = ", ".join(f"{lr * batch_size / options.reference_batch:.3g} ({lr:g})" for lr in options.lrs)
    return (
        f"batch {batch_size}, {options.optimiser}: lr {lrs} at batch {batch_size} (at {options.reference_batch}), "
        f"weight decay {', '.join(f'{decay:g}' for decay in options.weight_decays)}, {options.epochs} epochs"
    )


class Heads:
    """S linear classifiers, each with its own lr and weight decay, of which one step costs one pass over the batch.

    weight (S, classes, D) from N(0, 0.01), the same for all; bias (S, classes), 0. Every step is torch.optim.SGD's;
    with `lars` the decayed gradient d of weight and of bias is first scaled by trust · |p| / |d| (by 1 where either is
    0), which is apex's LARC without clipping. Ranks average their gradients, so all of them hold the same heads.
    """

    def __init__(self, options: Head, chosen: list[Setting], classes: int, width: int, seed: int) -> None:
        self.options, self.settings = options, chosen
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(classes, width).normal_(0.0, 0.01, generator=generator)
        self.weight, self.bias = weight.repeat(len(chosen), 1, 1), torch.zeros(len(chosen), classes)
        self.momenta = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]

    def to(self, device: torch.device) -> Heads:
        """Move everything."""
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)
        self.momenta = [momentum.to(device) for momentum in self.momenta]
        return self

    def keep(self, places: list[int]) -> None:
        """Go on with the settings at `places` alone."""
        self.settings = [self.settings[place] for place in places]
        self.weight, self.bias = self.weight[places], self.bias[places]
        self.momenta = [momentum[places] for momentum in self.momenta]

    def scores(
        self, rows: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, S, classes) of rows (B, D); with weight and bias in place of those that were trained."""
        weight, bias = self.weight if weight is None else weight, self.bias if bias is None else bias
        flat = torch.addmm(bias.flatten(), rows, weight.flatten(0, 1).T)
        return flat.view(len(rows), *bias.shape)

    def step(self, rows: torch.Tensor, labels: torch.Tensor, factor: float) -> torch.Tensor:
        """One step on this rank's rows (B, D) with labels (B,), the lrs times `factor`.

        Returns: mean cross-entropy of each setting over this rank's rows before the step (S,).
        """
        logarithms = self.scores(rows).log_softmax(2)
        places = labels[:, None, None].expand(-1, logarithms.shape[1], 1)
        losses = -logarithms.gather(2, places).mean((0, 2))
        error = logarithms.exp()
        error.scatter_add_(2, places, -torch.ones_like(places, dtype=error.dtype))
        by_weight, by_bias = error.flatten(1).T @ rows, error.sum(0)
        self._update(*_mean_over_ranks(by_weight.view_as(self.weight), by_bias, len(rows)), factor)
        return losses

    def _update(self, by_weight: torch.Tensor, by_bias: torch.Tensor, factor: float) -> None:
        lrs = self.weight.new_tensor([setting.lr for setting in self.settings]) * factor
        decays = self.weight.new_tensor([setting.weight_decay for setting in self.settings])
        momentum = self.options.momentum
        for values, gradient, memory in zip((self.weight, self.bias), (by_weight, by_bias), self.momenta, strict=True):
            across = (-1, *[1] * (values.ndim - 1))
            gradient.add_(values * decays.view(across))
            if self.options.optimiser == "lars":
                sizes, lengths = values.flatten(1).norm(dim=1), gradient.flatten(1).norm(dim=1)
                gradient.mul_(trust_ratios(sizes, lengths, TRUST).view(across))
            memory.mul_(momentum).add_(gradient)
            step = gradient.add(memory, alpha=momentum) if self.options.nesterov else memory
            values.sub_(step * lrs.view(across))


def top1_of_each(scored: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
    """Top-1 of each setting in percent, over parts (scores (B, S, classes), labels (B,)), held one at a time."""
    right, count = 0, 0
    for scores, labels in scored:
        right = right + torch.stack([hits(of_one, labels, 1).sum() for of_one in scores.unbind(1)]).double()
        count += len(labels)
    return (right / count * 100).tolist()


def told(trained: Heads, batch_size: int) -> dict[str, object]:
    """What a result says of the setting that is left."""
    (won,) = trained.settings
    return {
        "lr_at_reference_batch": won.lr * trained.options.reference_batch / batch_size,
        "lr_used": won.lr,
        "weight_decay": won.weight_decay,
        "batch_size_used": batch_size,
    }


def _mean_over_ranks(by_weight: torch.Tensor, by_bias: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over this rank's rows to means over the rows of all ranks, in one collective."""
    if distributed.world_size() == 1:
        return by_weight.div_(max(count, 1)), by_bias.div_(max(count, 1))  # a batch may hold no readable image
    flat = torch.cat([by_weight.flatten(), by_bias.flatten(), by_bias.new_tensor([float(count)])])
    distributed.all_mean_(flat)
    flat = flat[:-1] / torch.where(flat[-1] > 0, flat[-1], 1.0)
    return flat[: by_weight.numel()].view_as(by_weight), flat[by_weight.numel() :].view_as(by_bias)
