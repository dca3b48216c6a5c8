"""A linear classifier on the pooled map of every stage of a frozen network (Goyal et al., 2019), from res1 to res5."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.classifiers.linear.head_options import Head, check_head
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import STAGES, Common

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Options:
    """Which stages, and the options of the heads."""

    stages: list[str] = option([], "which stages; none means all", choices=STAGES)
    held_out: float = option(0.2, "share of train on which settings are chosen", above=0, below=1)
    head: Head = field(default_factory=Head)


def check_options(options: Options, common: Common) -> None:
    """Refuse rows that would fill the memory, and heads without a setting.

    Raises:
        UserError: with the remedy.
    """
    check_head(options.head)
    if not common.cache:
        raise UserError("stages keeps some 170 KB an image: give cache=FOLDER, on a disk that has room for them.")


def measure(subject: Subject, options: Options) -> Outcome:
    """Top-1 of each stage; all stages are computed in one pass over the images."""
    from transfer.classifiers.accuracy import top1_top5
    from transfer.classifiers.linear import racing_heads
    from transfer.features.rows import counts_of
    from transfer.features.stages import stage_rows
    from transfer.per_image import hits_of, of_labels

    common, metrics, details = subject.common, dict[str, float](), dict[str, object]()
    hits: dict[str, np.ndarray] = {}
    rows = stage_rows(subject.other_rows, subject.arch, common.image_size)
    for stage in options.stages or STAGES:
        print(f"{stage}: ", end="", flush=True)
        given = (subject.classes, options.head, options.held_out, common.seed, subject.device)
        head, details[stage] = racing_heads.race_to_head(rows[stage][0], *given)
        scores, labels = head.scores(rows[stage][1].rows), rows[stage][1].labels
        metrics |= {f"{stage} {name}": value for name, value in top1_top5(scores, labels).items()}
        hits |= hits_of(scores, labels, f"{stage} ")
    train, val = rows[STAGES[0]]
    kept = of_labels(val.names, hits, val.labels.numpy())
    numbers = ", ".join(f"{name} {rows[name][0].rows.shape[1]}" for name in options.stages or STAGES)
    protocol = f"pooled maps of each stage ({numbers}); {racing_heads.PROTOCOL}"
    return Outcome(metrics, protocol, counts_of(train, val), details, per_image=kept)


EVALUATOR = Evaluator(
    Task("stages", "Linear on every stage", headline="res5 top1", headline_alone=False, order=26),
    "linear classifier of the pooled map of each stage, res1 to res5, as Goyal et al. (2019) pool them",
    measure,
    needs=lambda _: Needs.OTHER_ROWS,
    options=Options,
    check=check_options,
    several_processes=True,
)
