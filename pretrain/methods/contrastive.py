"""Contrastive methods: MoCo (row a), SimCLR (row b), and SimCLR with both terms of its gradient (Table 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pretrain.gradients import attract, repel_as_sample, repel_softmax
from pretrain.methods.collectives import Sent, Shapes
from pretrain.methods.memory import CurrentBatch, NegativeQueue
from pretrain.methods.row import OWN, GradientForm, Row
from pretrain.runtime import distributed
from pretrain.runtime.options import FIXED, option


def _temperature() -> Any:
    return option(0.2, "τ, the temperature of the softmax", above=0, resume=FIXED)


@dataclass
class Options:
    """Of row b. The temperature is MoCo v2's (provenance: assumed)."""

    temperature: float = _temperature()


@dataclass
class QueueOptions:
    """Of row a. Temperature and size are MoCo v2's (provenance: assumed)."""

    temperature: float = _temperature()
    queue_size: int = option(
        65536,
        "length of the queue, a multiple of the samples of a step (2 × optim.batch_size)",
        at_least=1,
        unit="samples",
        resume=FIXED,
    )


class Contrastive(GradientForm):
    """Rows a, b: dL/du1 = 1/τ (-u2 + Σ_{v∈V} s_v v) (Eq. 2, 4), V the bank (MoCo) or the batch (SimCLR).

    V holds the samples of both views, u1's own among them, as in the official code; that one is nearly radial.

    Args: temperature, τ; queue_size, samples of the bank; None takes the batch instead.
    """

    normalisation, row_by_row = "l2", True

    def __init__(self, balance: float, temperature: float, queue_size: int | None = None) -> None:
        super().__init__()
        self.samples = CurrentBatch() if queue_size is None else NegativeQueue(queue_size)
        self.temperature, self.balance, self.scale = temperature, balance, 1 / temperature

    def observe(self, samples: torch.Tensor) -> None:
        self.samples.update(samples)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_softmax(u1, self.samples.rows, self.temperature, self.samples.excluded)

    def sent(self, shapes: Shapes) -> list[Sent]:
        return self.samples.sent(shapes)


class BothTerms(GradientForm):
    """Table 6: SimCLR whose target is not detached, so that u1 also learns as a sample of the others (Eq. 3).

    dL/du1 = 1/τ (-2 u2 + Σ_{v∈V\\u1} (s_v + t_v) v), V the batch from the branch that learns.
    """

    normalisation, row_by_row = "l2", False

    def __init__(self, balance: float, temperature: float) -> None:
        super().__init__()
        self.temperature, self.balance, self.scale = temperature, balance, 1 / temperature
        self.samples = CurrentBatch()

    def observe(self, samples: torch.Tensor) -> None:
        self.views = len(samples)
        self.samples.update(samples)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return 2 * attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """Both sums of Eq. 3 over the batch without u1 itself, whose place follows from the view and the rank."""
        rows = self.samples.rows
        itself = torch.zeros(len(u1), len(rows), dtype=torch.bool, device=u1.device)
        if view < self.views:  # a local crop is no sample
            itself.diagonal(view * len(rows) // self.views + distributed.rank() * len(u1))[: len(u1)].fill_(True)
        as_anchor = repel_softmax(u1, rows, self.temperature, itself)
        return as_anchor + repel_as_sample(u1, rows, self.temperature, itself)

    def sent(self, shapes: Shapes) -> list[Sent]:
        return self.samples.sent(shapes)


ROWS = (
    Row("moco", "a", Contrastive, QueueOptions, balance=1.0, title="MoCo"),
    Row("simclr", "b", Contrastive, Options, balance=1.0, title="SimCLR"),
    Row("simclr_both_terms", "b", BothTerms, Options, balance=1.0, targets=OWN, table=6, title="SimCLR (both terms)"),
)
