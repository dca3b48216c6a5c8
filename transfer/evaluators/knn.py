"""Weighted k-nearest-neighbour classification of val by frozen rows of train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretrain.runtime.options import option
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    from transfer.datasets.labelled import Labelled


@dataclass
class Options:
    """What k-NN may be asked beside the official setting and DINO's."""

    k: int = option(0, "a further number of neighbours, at DINO's temperature; 0 for none", at_least=0)


def check_images(options: Options, _: Common, data: Labelled) -> None:
    """Refuse more neighbours than train has images.

    Raises:
        UserError: naming both.
    """
    from transfer.classifiers import knn

    knn.check_neighbours(options.k, len(data.train))


def measure(subject: Subject, options: Options) -> Outcome:
    """Top-1 of the official setting, of DINO's, and of `k` neighbours."""
    from transfer.classifiers import knn
    from transfer.per_image import of_labels

    train, val = subject.rows()
    hits = knn.knn_hits(train, val, subject.classes, subject.device, options.k)
    metrics = {name: hit.double().mean().item() * 100 for name, hit in hits.items()}
    kept = of_labels(val.names, {name: hit.numpy() for name, hit in hits.items()}, val.labels.numpy())
    return Outcome(metrics, knn.protocol(len(train.rows)), per_image=kept)


EVALUATOR = Evaluator(
    Task("knn", "k-NN", headline="top1", headline_alone=False, order=10),
    "k nearest neighbours of frozen rows: the official setting (k 200, T 0.1) and DINO's (k 20, T 0.07)",
    measure,
    needs=lambda _: Needs.FROZEN_ROWS,
    options=Options,
    check_data=check_images,
    several_processes=True,
)
