"""Top-1 of a linear head that learns along with the trunk, from detached features: the trunk never feels it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from pretrain import config
from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

RATE = 1e-3  # Adam's own default
RHO = 0.99  # share that the moving mean and variance of the features keep at a step
EPSILON = 1e-5
TENSORS = ("weight", "bias", "mean", "square", "told")  # of the state, beside the number of steps and Adam's
UNLABELLED = -1  # what a batch has for an image without a class


def classes_of(cfg: config.Config, source: ImageSource) -> int:
    """How many classes the run's linear head tells apart; 0 for none.

    Unset, run.linear_probe follows data.val: who has given images with labels to measure by is shown both measurements,
    and a run without labels stays one.

    Raises:
        UserError: it is asked for, or is what run.keep_best goes by, and the images have fewer than two classes.
    """
    wanted = bool(cfg.data.val) if cfg.run.linear_probe is None else cfg.run.linear_probe
    classes = len(source.classes) if source.labels is not None else 0
    if cfg.run.linear_probe and classes < 2:
        raise UserError(
            f"run.linear_probe=true needs images of at least two classes, and {source.where} has "
            f"{classes or 'no labels'}: give class folders, or leave it out."
        )
    if cfg.run.keep_best == "linear_top1" and not (wanted and classes > 1):
        raise UserError(
            "run.keep_best=linear_top1 needs the linear head along the run: add run.linear_probe=true and images in "
            "class folders, or choose run.keep_best=effective_rank."
        )
    return classes if wanted and classes > 1 else 0


class LinearProbe:
    """A softmax head on the trunk's features, standardised by their moving mean and variance; Adam, rate 1e-3.

    It starts at zero and draws nothing, and its gradient is written out below. So a run with it has the same trunk, bit
    for bit, as one without. Every rank holds the same head: what ranks tell each other is one sum a step. An image is
    predicted before its label is learnt from.

    Args: width, D, of the features; classes, C; device, of head and features.
    """

    def __init__(self, width: int, classes: int, device: torch.device) -> None:
        def zeros(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=kind, device=device)

        self.numbers = torch.arange(classes, device=device)
        self.weight, self.bias = zeros(classes, width), zeros(classes)
        self.mean, self.square, self.steps = zeros(width), zeros(width), 0  # moving ones, of so many steps
        self.told = zeros(2, kind=torch.float64)  # hits and rows since the last reading
        self.optimizer = torch.optim.Adam([self.weight, self.bias], lr=RATE)

    @torch.no_grad()
    def learn(
        self, features: torch.Tensor, labels: torch.Tensor, mixing: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """One step; nothing in it waits for the device.

        Args:
            features: (V, n, D), the trunk's for the global views.
            labels: (n,), UNLABELLED where an image has none.
            mixing: (K, n, n), K >= V, shares of the images in mixed ones: labels are then mixed as the images are, and
                the one of the largest share counts.

        Returns: {"linear_running_top1": percent of the rows of this step on all ranks}.
        """
        wanted = (labels[:, None] == self.numbers).float().expand(len(features), -1, -1)
        wanted = (wanted if mixing is None else mixing[: len(features)].float() @ wanted).flatten(0, 1)
        rows = features.detach().flatten(0, 1).float()
        finite = rows.isfinite().all(1, keepdim=True)  # one row that is not would spoil the head for good
        rows, wanted = torch.where(finite, rows, 0.0), wanted * finite
        weights = wanted.sum(1, keepdim=True)  # of a row: 1, or the share of its images that have a label
        scaled = self._standardised(rows)
        logits = functional.linear(scaled, self.weight, self.bias)
        slope = logits.softmax(1) * weights - wanted  # of the cross-entropy, with respect to the logits
        counts = (weights > 0).float().flatten()
        hits = (logits.argmax(1) == wanted.argmax(1)).float() @ counts
        sums = [slope.T @ scaled, slope.sum(0), counts @ rows, counts @ rows.square(), hits, counts.sum()]
        flat = torch.cat([one.flatten() for one in sums])
        distributed.all_mean_(flat)
        parts = torch.split(flat, [one.numel() for one in sums])
        many = parts[5].clamp_min(1 / distributed.world_size())
        self.weight.grad = parts[0].view_as(self.weight) / many
        self.bias.grad = parts[1] / many
        if self.steps:  # before anything is known of the features' scale, only that is learnt
            self.optimizer.step()
        self.mean.lerp_(parts[2] / many, 1 - RHO)
        self.square.lerp_(parts[3] / many, 1 - RHO)
        self.steps += 1
        self.told += torch.cat(parts[4:])
        return {"linear_running_top1": 100 * (parts[4] / many)[0]}

    def _standardised(self, rows: torch.Tensor) -> torch.Tensor:
        share = 1 - RHO**self.steps or 1.0  # of the moving means that is not the zero they began at
        mean = self.mean / share
        spread = (self.square / share - mean.square()).clamp_min(0)
        return (rows - mean) * (spread + EPSILON).rsqrt()

    def read(self) -> dict[str, torch.Tensor]:
        """{"linear_top1": percent of the rows of all steps since the last reading, on all ranks}, which begins anew."""
        top1 = 100 * self.told[0] / self.told[1]
        self.told.zero_()
        return {"linear_top1": top1}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        tensors = {name: getattr(self, name) for name in TENSORS}
        return {**tensors, "steps": self.steps, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            RuntimeError: it is of another number of classes or of another width.
        """
        if state["weight"].shape != self.weight.shape:
            raise RuntimeError(f"a head of {tuple(state['weight'].shape)} for one of {tuple(self.weight.shape)}")
        for name in TENSORS:
            getattr(self, name).copy_(state[name])
        self.steps = int(state["steps"])
        self.optimizer.load_state_dict(state["optimizer"])
