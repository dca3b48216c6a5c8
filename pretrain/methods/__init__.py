"""Methods as the paper's Table 2 writes them: a positive gradient, a negative one and a balance factor (Eq. 13)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from pretrain.methods.forms import (
    BarlowTwins,
    Contrastive,
    DirectPred,
    Predicted,
    SimCLRBothTerms,
    UniGrad,
    VICReg,
    VICRegL2,
)
from pretrain.methods.memory import CurrentBatch, NegativeQueue
from pretrain.runtime.errors import UserError


class GradientForm(Protocol):
    """dL/du1 = scale (positive + balance · negative) (Eq. 13), for one online view at a time.

    Attributes: normalisation, of the rows: "l2", "bn" (over the batch, without affine part) or "none". row_by_row,
        whether a row's gradient depends on no other row of its view: then it may be asked for all views at once.
    """

    normalisation: str
    row_by_row: bool
    balance: float
    scale: float

    def observe(self, samples: torch.Tensor) -> None:
        """Take in this step's samples (G, n, C) before gradients are asked for; memory changes here or in prepare."""

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(n, C) rows of a view and what they are drawn to, to (n, C)."""

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """(n, C) rows of online view number `view` and what they are drawn to, to (n, C), without the balance."""


@runtime_checkable
class EarlyForm(Protocol):
    """A GradientForm that can start on its samples before the online rows are there, as those with F can.

    F's all-reduce then runs beside the online forward.
    """

    def prepare(self, samples: torch.Tensor) -> None:
        """Start what `observe` of the same samples (G, n, C) ends; nothing is asked of the form in between."""


@runtime_checkable
class LossForm(Protocol):
    """A method that is a loss without a closed form of its gradient: row c. Its parameters learn with the network's."""

    normalisation: str

    def loss(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(n, C) rows of a view and what they are drawn to, to (n,) losses that are differentiated."""


def moco(balance: float, temperature: float = 0.2, queue_size: int = 65536) -> Contrastive:
    """Row a. queue_size counts samples; temperature and size are MoCo v2's (provenance: assumed)."""
    return Contrastive(NegativeQueue(queue_size), temperature, balance)


def simclr(balance: float, temperature: float = 0.2) -> Contrastive:
    """Row b, with a momentum target unless it is told otherwise."""
    return Contrastive(CurrentBatch(), temperature, balance)


WIDTH = 2048  # C of all of the paper's tables but Table 10
TARGETS = ("momentum", "stop_gradient")
MOMENTUM, OWN = ("momentum",) * 2, ("stop_gradient",) * 2
POSITIVE_MOMENTUM = ("momentum", "stop_gradient")


@dataclass(frozen=True)
class Row:
    """A row of the paper's Table 2.

    Args:
        letter: of the row. top1: published ImageNet linear accuracy after 100 epochs, None where there is none.
        make: builds the form from keyword arguments.
        balance: the paper's λ, at C = 2048; None where the form has none to choose.
        grows: the power of C with which λ changes when C does. The correlation of unit rows shrinks like 1/C, so λ
            grows with C; that of columns of deviation 1 does not; VICReg's λ = 2 λ1 / C (Eq. 11) keeps λ1.
        targets: target branch of the positive and of the negative gradient (Table 3), "momentum" or "stop_gradient".
    """

    letter: str
    top1: float | None
    make: Callable[..., nn.Module]
    balance: float | None = None
    grows: int = 0
    targets: tuple[str, str] = MOMENTUM


TABLE_2 = {
    "moco": Row("a", 70.0, moco, 1.0),
    "simclr": Row("b", 70.0, simclr, 1.0),
    "byol": Row("c", 70.3, partial(Predicted, hidden=4096, width=WIDTH)),
    "simsiam": Row("c", None, partial(Predicted, hidden=512, width=WIDTH), targets=OWN),
    "directpred": Row("d", 70.2, partial(DirectPred, rho=0.99, eps=0.3, predictor_every=1, middle_term=False)),
    "unigrad": Row("e", 70.3, partial(UniGrad, rho=0.99), 100.0, grows=1),
    "barlow_twins": Row("f", 69.0, partial(BarlowTwins, normalisation="bn", identity=False), 5e-3),
    "barlow_twins_identity": Row("g", 69.7, partial(BarlowTwins, normalisation="bn", identity=True), 5e-3),
    "barlow_twins_l2": Row("h", 70.0, partial(BarlowTwins, normalisation="l2", identity=True), 50.0, grows=1),
    "vicreg": Row("i", 70.0, partial(VICReg, variance=None, gamma=1.0), 4e-5, grows=-1, targets=POSITIVE_MOMENTUM),
    "vicreg_l2": Row("j", 69.8, VICRegL2, 25.0, grows=1, targets=POSITIVE_MOMENTUM),
}

# What the paper's Table 6 adds back and finds to change nothing; its numbers are not in our source.
TABLE_6 = {
    "simclr_both_terms": Row("b", None, partial(SimCLRBothTerms, temperature=0.2), 1.0, targets=OWN),
    "directpred_middle_term": Row(
        "d", None, partial(DirectPred, rho=0.99, eps=0.3, predictor_every=1, middle_term=True)
    ),
}

ROWS = TABLE_2 | TABLE_6
FIXED = ("middle_term", "normalisation", "identity")  # what makes a row that row: not to be overridden


def build(name: str, **overrides: Any) -> GradientForm | LossForm:
    """The method called `name` in TABLE_2 or TABLE_6, with the paper's values where `overrides` does not say otherwise.

    Keywords, where the row has them: balance, rho, temperature, eps, queue_size, predictor_every, variance, gamma,
    hidden, width (of the predictor's rows). A value of None leaves the row's own.

    Raises:
        UserError: no such row, a keyword that the row does not have, or a value out of its range.
    """
    row = find(name)
    given = {key: value for key, value in overrides.items() if value is not None}
    allowed = keywords(name)
    for key in given:
        if key not in allowed:
            raise UserError(f"method.{key} is not an option of {name}: it has {', '.join(allowed) or 'none'}.")
    if row.balance is not None:
        given = {"balance": row.balance} | given
    return row.make(**given)


def find(name: str) -> Row:
    """The row called `name`.

    Raises:
        UserError: there is none; the names are listed.
    """
    if name not in ROWS:
        nearest = difflib.get_close_matches(name, ROWS, 1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise UserError(f"method.name={name} is not a row of Table 2{hint}: choose one of {', '.join(ROWS)}.")
    return ROWS[name]


def keywords(name: str) -> tuple[str, ...]:
    """What can be overridden in a row."""
    return tuple(key for key in inspect.signature(find(name).make).parameters if key not in FIXED)


def balance_at(name: str, width: int) -> float | None:
    """The paper's λ of a row, carried over from C = 2048 to rows of `width` channels; None where it has none."""
    row = find(name)
    return None if row.balance is None else row.balance * (width / WIDTH) ** row.grows
