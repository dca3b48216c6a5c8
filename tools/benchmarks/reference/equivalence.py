"""A row of Table 2 and its official formulation, stepped on the same rows: how far apart their gradients are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pretrain import methods
from pretrain.models.siamese import build_normalisation
from pretrain.objective import objective
from tools.benchmarks.reference import losses

Official = Callable[[losses.Pair, losses.Pair], losses.Loss]
Make = Callable[[float | None], Official]  # an official formulation from λ


def _given(balance: float | None) -> float:
    """λ of a row that has one."""
    assert balance is not None
    return balance


OFFICIAL: dict[str, Make] = {
    "unigrad": lambda balance: losses.UniGrad(_given(balance)),
    "simclr": lambda balance: losses.SimCLR(),
    "directpred": lambda balance: losses.DirectPred(),
    "barlow_twins_l2": lambda balance: losses.BarlowTwins(_given(balance)),
}
# Largest relative difference of two gradients; the square roots of F's small eigenvalues take that much in float32.
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}
QUEUE = 8192  # MoCo's own queue of 65,536 rows would take most of the time of all rows together
Rows = tuple[torch.Tensor, torch.Tensor]


def draw(width: int, n: int, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Rows:
    """Online and target rows (2, n, C), random, before normalisation.

    Args:
        width: C.
        n: rows of a view.
        device: where they are put; they are drawn on the CPU.
        dtype: their type.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    online, targets = (torch.randn(2, n, width, generator=generator).to(device, dtype) for _ in range(2))
    return online, targets


class OurStep:
    """The objective of a row and its backward to the rows; its memory goes on from call to call.

    Args: name, of the row; like, rows whose shape (2, n, C), device and precision all later ones have; options, of
        `methods.build` where the row has them.
    """

    def __init__(self, name: str, like: torch.Tensor, **options: int) -> None:
        views, n, width = like.shape
        options = {"width": width, "queue_size": max(1, QUEUE // (views * n)) * views * n} | options
        chosen = {key: value for key, value in options.items() if key in methods.keywords(name)}
        self.form = methods.build(name, balance=methods.balance_at(name, width), **chosen).to(like)
        self.normalise = build_normalisation(self.form.normalisation, width).to(like)

    def feed(self, rows: Rows) -> OurStep:
        """Normalise rows for the calls that follow."""
        online, self.targets = (torch.stack([self.normalise(view) for view in branch]) for branch in rows)
        self.online = online.detach().requires_grad_()
        return self

    def __call__(self) -> None:
        self.online.grad = None
        self.form.zero_grad()
        terms = objective(self.form, self.online, self.targets)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())

    @property
    def gradient(self) -> torch.Tensor:
        """(2, n, C), of the last call."""
        assert self.online.grad is not None, "after a call"
        return self.online.grad


class OfficialStep:
    """The same for an official formulation, which takes unit rows as tensors of their own."""

    def __init__(self, loss: Official) -> None:
        self.loss = loss

    def feed(self, ours: OurStep) -> OfficialStep:
        """Take the rows that our step has."""
        first, second = (view.detach().requires_grad_() for view in ours.online)
        self.online = first, second
        first, second = ours.targets
        self.targets = first, second
        return self

    def __call__(self) -> None:
        for view in self.online:
            view.grad = None
        torch.autograd.backward(self.loss(self.online, self.targets)[0])

    @property
    def gradient(self) -> torch.Tensor:
        """(2, n, C), of the last call."""
        grads = [view.grad for view in self.online if view.grad is not None]
        return torch.stack(grads)


def difference(ours: OurStep, theirs: OfficialStep, batches: list[Rows]) -> float:
    """Largest relative difference of the two gradients in steps over `batches`; infinite where one is not finite."""
    largest = 0.0
    for rows in batches:
        theirs.feed(ours.feed(rows))
        ours()
        theirs()
        gap = ((ours.gradient - theirs.gradient).norm() / theirs.gradient.norm()).item()
        largest = max(largest, gap if gap == gap else float("inf"))
    return largest


def small_difference(name: str, make: Make) -> float:
    """Of a row from its official formulation: three steps in float64, C = 8, n = 16."""
    batches = [draw(8, 16, torch.device("cpu"), torch.float64, seed) for seed in range(3)]
    return difference(OurStep(name, batches[0][0]), OfficialStep(make(methods.balance_at(name, 8))), batches)
