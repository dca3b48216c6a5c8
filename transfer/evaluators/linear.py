"""Linear classification of frozen rows: exact logistic regression, a race of settings, or the papers' protocols."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.classifiers.linear.head_options import Head, check_head
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

PROBES = ("exact", "fast", "augmented")


@dataclass
class Options:
    """Which probe, and the options of heads that are trained step by step."""

    probe: str = option(
        "exact",
        "exact: logistic regression; fast: settings of SGD that race; augmented: the papers' protocols",
        choices=PROBES,
    )
    held_out: float = option(0.2, "share of train on which settings are chosen", above=0, below=1)
    head: Head = field(default_factory=Head)


def check_options(options: Options, _: Common) -> None:
    """Refuse options of trained heads where none is trained.

    Raises:
        UserError: naming the option and its remedy.
    """
    check_head(options.head)
    if options.probe == "exact" and options.head != Head():
        raise UserError("head.* are options of probe=fast and probe=augmented: add one of them, or leave head.* out.")


def needs(options: Options) -> Needs:
    """Augmented images take the trunk anew; the others are content with frozen rows."""
    return Needs.TRUNK if options.probe == "augmented" else Needs.FROZEN_ROWS


def measure(subject: Subject, options: Options) -> Outcome:
    """Top-1, and with more than five classes top-5, of the probe that was asked for."""
    return {"exact": _exact, "fast": _fast, "augmented": _augmented}[options.probe](subject, options)


def _exact(subject: Subject, options: Options) -> Outcome:
    from transfer.classifiers.accuracy import top1_top5
    from transfer.classifiers.linear import logistic_regression
    from transfer.per_image import of_scores

    (train, val), share, seed = subject.rows(), options.held_out, subject.common.seed
    probe, details = logistic_regression.fit_chosen(train, subject.classes, subject.device, share, seed)
    scores = probe.scores(val.rows)
    metrics, kept = top1_top5(scores, val.labels), of_scores(val.names, scores, val.labels)
    return Outcome(metrics, logistic_regression.PROTOCOL, details=details, per_image=kept, head=probe.head())


def _fast(subject: Subject, options: Options) -> Outcome:
    from transfer.classifiers.accuracy import top1_top5
    from transfer.classifiers.linear import racing_heads
    from transfer.per_image import of_scores

    (train, val), share, seed = subject.rows(), options.held_out, subject.common.seed
    given = (train, subject.classes, options.head, share, seed, subject.device)
    head, details = racing_heads.race_to_head(*given)
    scores = head.scores(val.rows)
    metrics, kept = top1_top5(scores, val.labels), of_scores(val.names, scores, val.labels)
    return Outcome(metrics, racing_heads.PROTOCOL, details=details, per_image=kept, head=head)


def _augmented(subject: Subject, options: Options) -> Outcome:
    from transfer.classifiers.linear import augmented_heads

    data, given = subject.data, (options.head, options.held_out, subject.common, subject.device)
    scored = augmented_heads.train_and_score(subject.trunk(), subject.width, data, *given)
    counts = {"train": len(data.train), "val": len(data.val) - scored.skipped_val, "skipped": scored.skipped_val}
    protocol, kept = augmented_heads.protocol(options.head), scored.per_image
    return Outcome(scored.metrics, protocol, counts, scored.details, per_image=kept, head=scored.head)


EVALUATOR = Evaluator(
    Task("linear", "Linear probe", headline="top1", order=20),
    "linear classifier of frozen rows; probe= chooses how it is trained",
    measure,
    needs,
    options=Options,
    check=check_options,
    several_processes=True,
)
