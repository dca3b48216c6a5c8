"""Transfer to other data sets by a linear classifier: SimCLR's and BYOL's suite, penalty chosen on validation."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.evaluators import Evaluator, Labels, Needs, Outcome, Subject, Task
from transfer.options import Common
from transfer.protocol import Protocol

SUITE = Protocol(
    "linear transfer, SimCLR and BYOL",
    "SimCLR, Table 8, and BYOL, Table 3",
    {
        "image_size": 224,
        "resize": 224,
        "interpolation": "bicubic",
        "penalties": 45,
        "weakest": 1e-6,
        "strongest": 1e5,
        "scaled": False,
    },
)


@dataclass
class Options:
    """Which penalties. λ stands before ‖weight‖² / 2 beside the sum of the losses: it is 1/C of scikit-learn."""

    penalties: int = option(45, "how many values of λ, by equal factors from strongest to weakest", at_least=1)
    weakest: float = option(1e-6, "the smallest λ", above=0)
    strongest: float = option(1e5, "the largest λ", above=0)
    scaled: bool = option(False, "divide the rows by their deviation first")
    held_out: float = option(
        0.2, "share of train on which λ is chosen, for data of which nobody published it", above=0, below=1
    )


def check_options(options: Options, _: Common) -> None:
    """Refuse a range whose ends are the wrong way round.

    Raises:
        UserError: naming both.
    """
    if options.weakest > options.strongest:
        raise UserError(f"weakest={options.weakest:g} is above strongest={options.strongest:g}: exchange them.")


def measure(subject: Subject, options: Options) -> Outcome:
    """The published metric of the set first, then the others of its kind."""
    from transfer.classifiers.linear import penalty_sweep

    (train, val), data, common = subject.rows(), subject.data, subject.common
    lambdas = penalty_sweep.spaced(options.strongest, options.weakest, options.penalties)
    sweep = penalty_sweep.Sweep(lambdas, options.scaled, options.held_out, common.seed)
    swept = penalty_sweep.sweep_and_score(train, val, data, sweep, subject.device)
    named = SUITE.told({**asdict(common), **asdict(options)}, "linear transfer", data.published)
    given = f"{len(lambdas)} penalties from {options.weakest:g} to {options.strongest:g}"
    rows = "scaled rows" if options.scaled else "rows as they are"
    protocol = (
        f"{named['protocol']} (published reference: {named['reference']}): logistic regression of {rows} by L-BFGS, "
        f"{given}, chosen on {penalty_sweep.where(data, options.held_out)}, then fitted on all of train"
    )
    return Outcome(swept.metrics, protocol, details=named | swept.details, per_image=swept.per_image(val.names))


EVALUATOR = Evaluator(
    Task("transfer", "Transfer, linear", order=50, suite=True),
    "linear transfer to public data sets (sets=[...]) or own ones: λ chosen among 45 on validation",
    measure,
    needs=lambda _: Needs.FROZEN_ROWS,
    options=Options,
    check=check_options,
    several_processes=True,
    labels=Labels.ONE | Labels.SEVERAL,
)
