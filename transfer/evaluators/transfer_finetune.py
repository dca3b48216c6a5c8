"""Transfer to other data sets by fine-tuning the whole network: SimCLR's and BYOL's suite, rate and decay chosen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pretrain.runtime.options import option
from transfer.classifiers.finetune_options import FineTune
from transfer.evaluators import Evaluator, Labels, Needs, Outcome, Subject, Task
from transfer.options import Common
from transfer.protocol import Protocol

RATES = [1e-4, 3.1623e-4, 1e-3, 3.1623e-3, 1e-2, 3.1623e-2, 1e-1]
DECAYS = [0.0, 1e-6, 3.1623e-6, 1e-5, 3.1623e-5, 1e-4, 3.1623e-4, 1e-3]
SUITE = Protocol(
    "fine-tuned transfer, SimCLR and BYOL",
    "SimCLR, Table 8, and BYOL, Table 3",
    {
        "image_size": 224,
        "resize": 256,
        "batch_size": 256,
        "steps": 20_000,
        "learning_rates": [RATES],
        "decays": [DECAYS],
        "schedule": "cosine",
        "min_scale": 0.08,
    },
)


@dataclass
class Options:
    """What is tried. SGD with Nesterov's momentum 0.9; random crops and flips."""

    steps: int = option(20_000, "steps of a training", at_least=1)
    learning_rates: list[float] = option(RATES, "learning rates of trunk and head alike, one is chosen", above=0)
    decays: list[float] = option(DECAYS, "weight decays times the learning rate, one is chosen", at_least=0)
    schedule: str = option("cosine", "how the learning rate falls from step to step", choices=("cosine", "constant"))
    min_scale: float = option(0.08, "smallest share of an image's area that a training crop keeps", above=0, at_most=1)
    precision: str = option("fp32", "number format of the network's forward pass", choices=("fp32", "bf16"))
    held_out: float = option(
        0.2, "share of train on which they are chosen, for data of which nobody published it", above=0, below=1
    )


def check_options(options: Options, common: Common) -> None:
    """Refuse nothing to try, and a batch that batch norm or the processes cannot take.

    Raises:
        UserError: naming the option.
    """
    from pretrain.runtime.errors import UserError
    from transfer.evaluators.semi import check_options as check_batch

    for name in ("learning_rates", "decays"):
        if not getattr(options, name):
            raise UserError(f"{name}=[] leaves nothing to try: give one at least.")
    check_batch(FineTune(), common)


def measure(subject: Subject, options: Options) -> Outcome:
    """The published metric of the set first, then the others of its kind."""
    from transfer.classifiers import transfer_tune
    from transfer.classifiers.linear import penalty_sweep

    data, common = subject.data, subject.common
    base = FineTune(
        schedule=options.schedule,
        nesterov=True,
        min_scale=options.min_scale,
        precision=options.precision,
    )
    grid = transfer_tune.Grid(options.learning_rates, options.decays, options.steps, options.held_out, base)
    trainer = transfer_tune.Trainer(subject.trunk, subject.width, data, common, subject.device)
    tuned = transfer_tune.tune_and_score(trainer, grid)
    named = SUITE.told({**asdict(common), **asdict(options)}, "fine-tuned transfer", data.published)
    protocol = (
        f"{named['protocol']} (published reference: {named['reference']}): whole network, {options.steps} steps, batch "
        f"{common.batch_size}, {options.schedule}, {len(grid.rates)} rates and {len(grid.decays)} decays, chosen on "
        f"{penalty_sweep.where(data, options.held_out)}, then trained on all of train"
    )
    swept = tuned.swept
    return Outcome(swept.metrics, protocol, tuned.counts, named | swept.details, per_image=swept.per_image(tuned.names))


EVALUATOR = Evaluator(
    Task("transfer_finetune", "Transfer, fine-tuned", order=51, suite=True),
    "fine-tuning on public data sets (sets=[...]) or own ones: learning rate and decay chosen on validation",
    measure,
    needs=lambda _: Needs.TRUNK,
    options=Options,
    check=check_options,
    several_processes=True,
    labels=Labels.ONE | Labels.SEVERAL,
)
