"""The interface of a form, and the declaration of a row of the paper's tables."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from pretrain.methods.collectives import Sent, Shapes

WIDTH = 2048  # C of all of the paper's tables but Table 10
MOMENTUM, OWN = ("momentum",) * 2, ("stop_gradient",) * 2
POSITIVE_MOMENTUM = ("momentum", "stop_gradient")


class GradientForm(nn.Module, ABC):
    """dL/du1 = scale (positive + balance · negative) (Eq. 13), for one online view at a time.

    Attributes:
        normalisation: of the rows: "l2", "bn" (over the batch, without affine part) or "none".
        row_by_row: whether a row's gradient depends on no other row of its view; then one call takes all views.
        linear_in_targets: whether the gradient for a mean of targets is the mean of the gradients for each, so that
            more than two global views are a mean over pairs.
    """

    linear_in_targets = True
    normalisation: str
    row_by_row: bool
    balance: float
    scale: float

    @abstractmethod
    def observe(self, samples: torch.Tensor) -> None:
        """Take in this step's samples (G, n, C) before gradients are asked for; memory changes here or in prepare."""

    @abstractmethod
    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """Positive gradient (n, C) of the rows u1 (n, C) of a view, whose targets are u2 (n, C)."""

    @abstractmethod
    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """Negative gradient (n, C), without the balance, of the rows u1 (n, C) of online view number `view`.

        u2 (n, C) are the targets of these rows.
        """

    @abstractmethod
    def sent(self, shapes: Shapes) -> list[Sent]:
        """What a rank sends to the others for this form in a step."""


class LossForm(nn.Module, ABC):
    """A method given by a loss, without a closed form of its gradient: row c. Its parameters are trained too.

    linear_in_targets: as of a GradientForm.
    """

    linear_in_targets = True
    normalisation: str

    @abstractmethod
    def observe(self, samples: torch.Tensor) -> None:
        """Take in this step's samples (G, n, C) before losses are asked for."""

    @abstractmethod
    def loss(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """Losses (n,), to be differentiated, of the rows u1 (n, C) of a view, whose targets are u2 (n, C)."""

    @abstractmethod
    def sent(self, shapes: Shapes) -> list[Sent]:
        """What a rank sends to the others for this form in a step."""


@runtime_checkable
class EarlyForm(Protocol):
    """A form that can start on its samples before the online rows are computed, as those with F can.

    The all-reduce of F then runs during the online forward pass.
    """

    def prepare(self, samples: torch.Tensor) -> None:
        """Start the work on the samples (G, n, C) that `observe` finishes; no other method is called in between."""


@runtime_checkable
class SimplifiedForm(Protocol):
    """A form that the paper simplifies, and that can measure the term which is left out (Figure 3)."""

    def figure_3(self, u1: torch.Tensor, u2: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalars by name, after `observe`, for the rows u1 (n, C) of an online view and their targets u2 (n, C)."""


@dataclass
class NoOptions:
    """The options of a row that has none."""


@dataclass(frozen=True)
class Row:
    """A row of the paper's Table 2, or of Table 6, declared in the file of its form.

    Args:
        name: as it is typed: method.name=NAME.
        letter: of the row.
        form: makes the form from keyword arguments: those of `options`, of `fixed`, balance where the row has one,
            and width (C) where the form takes it.
        options: a dataclass of `option(...)` fields.
        own: the row's values of options, where they differ from the defaults of that dataclass.
        fixed: arguments of the form that define the row and cannot be overridden.
        balance: the paper's λ, at C = 2048; None where the form has none to choose.
        grows: the power of C with which λ changes when C does. The correlation of unit rows shrinks like 1/C, so λ
            grows with C; that of columns of deviation 1 does not; VICReg's λ = 2 λ1 / C (Eq. 11) keeps λ1.
        targets: target branch of the positive and of the negative gradient (Table 3), "momentum" or "stop_gradient".
        table: of the paper, 2 or 6.
        title: what reports call the row, as its paper spells it; "" for its name.
    """

    name: str
    letter: str
    form: Callable[..., GradientForm | LossForm]
    options: type = NoOptions
    own: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    balance: float | None = None
    grows: int = 0
    targets: tuple[str, str] = MOMENTUM
    table: int = 2
    title: str = ""

    def defaults(self) -> Any:
        """The row's own options, an instance of `options`."""
        return self.options(**self.own)

    def balance_at(self, width: int) -> float | None:
        """The paper's λ, carried over from C = 2048 to rows of `width` channels; None where the row has none."""
        return None if self.balance is None else self.balance * (width / WIDTH) ** self.grows

    def branches(self, positive: str | None, negative: str | None) -> tuple[str, str]:
        """The target branch of each gradient: the one that is asked for, or the row's own."""
        return positive or self.targets[0], negative or self.targets[1]

    def takes_width(self) -> bool:
        """Whether the form is built for a number of channels."""
        return "width" in inspect.signature(self.form).parameters

    def keywords(self) -> tuple[str, ...]:
        """What can be overridden."""
        names = [one.name for one in fields(self.options)]
        return (*["balance"] * (self.balance is not None), *names, *["width"] * self.takes_width())
