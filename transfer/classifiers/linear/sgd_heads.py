"""Linear classifiers on frozen features, several settings trained at the same time on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from pretrain.optim.optimisers.lars import trust_ratios
from pretrain.runtime import distributed
from transfer.classifiers.accuracy import hits
from transfer.classifiers.linear.head_options import Head
from transfer.features.on_device import to_device

TRUST = 1e-3  # of LARS, as in apex's LARC and SimSiam's lineval
CHUNK = 2**12  # rows scored at once


class Setting(NamedTuple):
    """lr: of the batch in use. weight_decay: of weight and bias alike, as torch's SGD has it."""

    lr: float
    weight_decay: float


def settings(options: Head, batch_size: int) -> list[Setting]:
    """Every pair of lr and weight decay, the lr scaled from `reference_batch` to `batch_size` images."""
    scale = batch_size / options.reference_batch
    return [Setting(lr * scale, decay) for lr in options.lrs for decay in options.weight_decays]


def setting_name(setting: Setting) -> str:
    """A setting in words."""
    return f"lr {setting.lr:g}, wd {setting.weight_decay:g}"


def scaling_in_words(options: Head, batch_size: int) -> str:
    """The settings in words, with the learning rates before and after they are scaled to the batch."""
    lrs = ", ".join(f"{lr * batch_size / options.reference_batch:.3g} ({lr:g})" for lr in options.lrs)
    return (
        f"batch {batch_size}, {options.optimiser}: lr {lrs} at batch {batch_size} (at {options.reference_batch}), "
        f"weight decay {', '.join(f'{decay:g}' for decay in options.weight_decays)}, {options.epochs} epochs"
    )


class Heads:
    """S linear classifiers, each with its own lr and weight decay, of which one step costs one pass over the batch.

    weight (S, classes, D) from N(0, 0.01), the same for all; bias (S, classes), 0. Their rates lie beside them on the
    device, where a step reads nothing and is told nothing but numbers of the host. Every step is torch.optim.SGD's;
    with `lars` the decayed gradient d of weight and of bias is first scaled by trust · |p| / |d| (by 1 where either is
    0), which is apex's LARC without clipping. Ranks average their gradients, so all of them hold the same heads.
    """

    def __init__(self, options: Head, chosen: list[Setting], classes: int, width: int, seed: int) -> None:
        self.options, self.settings = options, chosen
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(classes, width).normal_(0.0, 0.01, generator=generator)
        self.weight, self.bias = weight.repeat(len(chosen), 1, 1), torch.zeros(len(chosen), classes)
        self.momenta = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]
        self.lrs = torch.tensor([setting.lr for setting in chosen])
        self.decays = torch.tensor([setting.weight_decay for setting in chosen])

    def to(self, device: torch.device) -> Heads:
        """Move weights, biases, momenta and rates; returns the heads themselves."""
        return self._each(lambda values: to_device(values, device))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Heads:
        self.weight, self.bias, self.lrs, self.decays = map(change, (self.weight, self.bias, self.lrs, self.decays))
        self.momenta = [change(momentum) for momentum in self.momenta]
        return self

    def keep(self, indices: list[int]) -> None:
        """Go on with the settings at `indices` alone."""
        self.settings = [self.settings[index] for index in indices]
        kept = to_device(torch.tensor(indices), self.weight.device)
        self._each(lambda values: values[kept])

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
        targets = labels[:, None, None].expand(-1, logarithms.shape[1], 1)
        losses = -logarithms.gather(2, targets).mean((0, 2))
        error = logarithms.exp()
        error.scatter_add_(2, targets, -torch.ones_like(targets, dtype=error.dtype))
        by_weight, by_bias = error.flatten(1).T @ rows, error.sum(0)
        self._update(*_mean_over_ranks(by_weight.view_as(self.weight), by_bias, len(rows)), factor)
        return losses

    def _update(self, by_weight: torch.Tensor, by_bias: torch.Tensor, factor: float) -> None:
        lrs, momentum = self.lrs * factor, self.options.momentum
        for values, gradient, memory in zip((self.weight, self.bias), (by_weight, by_bias), self.momenta, strict=True):
            across = (-1, *[1] * (values.ndim - 1))
            gradient.add_(values * self.decays.view(across))
            if self.options.optimiser == "lars":
                sizes, lengths = values.flatten(1).norm(dim=1), gradient.flatten(1).norm(dim=1)
                gradient.mul_(trust_ratios(sizes, lengths, TRUST).view(across))
            memory.mul_(momentum).add_(gradient)
            step = gradient.add(memory, alpha=momentum) if self.options.nesterov else memory
            values.sub_(step * lrs.view(across))


def top1_of_each(scored: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
    """Top-1 of each setting in percent, over parts (scores (B, S, classes), labels (B,)), held one at a time."""
    parts = [
        (torch.stack([hits(one, labels, 1).sum() for one in scores.unbind(1)]), labels) for scores, labels in scored
    ]
    right = torch.stack([hit for hit, _ in parts]).double().sum(0)
    top1: list[float] = (right / sum(len(labels) for _, labels in parts) * 100).tolist()
    return top1


def chosen_setting(trained: Heads, batch_size: int) -> dict[str, object]:
    """What a result says of the one setting that is left."""
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
    flat = torch.cat([by_weight.flatten(), by_bias.flatten(), by_bias.new_full((1,), float(count))])
    distributed.all_mean_(flat)
    flat = flat[:-1] / torch.where(flat[-1] > 0, flat[-1], 1.0)
    return flat[: by_weight.numel()].view_as(by_weight), flat[by_weight.numel() :].view_as(by_bias)
