"""Few labels: the whole network fine-tuned on a small part of train, and its accuracy on val."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from transfer.classifiers.finetune_options import FineTune, check_finetuning
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    from pretrain.data.sources import ImageSource
    from transfer.datasets.labelled import Labelled
    from transfer.datasets.subsets import Subset
    from transfer.per_image import PerImage


def check_options(options: FineTune, common: Common) -> None:
    """Refuse what cannot work together, and a batch that the processes cannot share equally.

    Raises:
        UserError: naming the option, its value and its remedy.
    """
    from pretrain.runtime import distributed

    check_finetuning(options, common)
    processes = distributed.asked_world_size()
    if common.batch_size % processes:
        raise UserError(
            f"batch_size={common.batch_size} cannot be shared equally by {processes} processes: choose a multiple "
            "of their number; the learning rates follow."
        )


def check_labels(options: FineTune, common: Common, data: Labelled) -> None:
    """Tell in one line which images are labelled, and refuse those that lack a class or leave a sweep no others.

    Raises:
        UserError: a list that cannot be read or does not fit the data, or what was said above.
    """
    from transfer.datasets.subsets import check_classes

    subset = _labelled(options, common, data)
    if options.image_list:
        listed, known = subset.counts["listed"], subset.counts["absent_of_known_classes"]
        print(
            f"{options.image_list}: {len(subset.source)} of {listed} listed images are in {data.name}; {known} of the "
            "absent ones are of its classes",
            flush=True,
        )
    else:
        print(f"fraction {options.fraction:g}: {len(subset.source)} labelled images", flush=True)
    check_classes(subset.source)
    if options.sweep and len(subset.source) == len(data.train):
        raise UserError("a sweep chooses on images of train that are not labelled, and there are none: label fewer.")


def _labelled(options: FineTune, common: Common, data: Labelled) -> Subset:
    from transfer.datasets import subsets

    if not options.image_list:
        return subsets.from_fraction(data.train, options.fraction, common.seed)
    subsets.list_name(options.image_list)  # refuses a changed list before it is matched
    return subsets.from_list(data.train, options.image_list, options.max_absent)


def measure(subject: Subject, options: FineTune) -> Outcome:
    """Top-1, and with more than five classes top-5, after fine-tuning."""
    from transfer.classifiers import finetune
    from transfer.datasets import subsets

    train, val = subject.data.train, subject.data.val
    subset = _labelled(options, subject.common, subject.data)
    labelled = set(subset.source.paths)
    rest = train.select([at for at, path in enumerate(train.paths) if path not in labelled])
    given = (subset.source, val, options, subject.common, subject.device, rest)
    scored = finetune.finetune_and_score(subject.trunk(), subject.width, *given)
    which = subsets.list_name(options.image_list) if options.image_list else ""
    counts = {
        "train": len(subset.source) - scored.skipped_train,
        "val": len(val) - scored.skipped_val,
        "skipped": scored.skipped_train + scored.skipped_val,
        **subset.counts,
    }
    protocol = finetune.protocol(options, subject.common, which or f"a balanced fraction of {options.fraction:g}")
    kept = _per_image(val, scored.hits)
    return Outcome(scored.metrics, protocol, counts, scored.details, per_image=kept)


def _per_image(val: ImageSource, hits: Mapping[str, Mapping[str, bool]]) -> PerImage:
    """What came of the images of val that could be read, in their order."""
    import numpy as np

    from transfer.per_image import of_labels

    read = [at for at in range(len(val)) if val.key(at) in hits["top1"]]
    names = [val.key(at) for at in read]
    of_metric = {metric: np.array([hit[name] for name in names], bool) for metric, hit in hits.items()}
    return of_labels(names, of_metric, np.array([val.label(at) for at in read]))


EVALUATOR = Evaluator(
    Task("semi", "Few labels", headline="top1", order=30),
    "fine-tuning of the whole network on few labels (image_list=FILE or fraction=0.01)",
    measure,
    needs=lambda _: Needs.TRUNK,
    options=FineTune,
    check=check_options,
    check_data=check_labels,
    several_processes=True,
)
