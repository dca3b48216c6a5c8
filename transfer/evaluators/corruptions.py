"""A trained head on val under ImageNet-C's corruptions, which are made here from the images of val."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.datasets.corruption_names import FURTHER_NAMES, STANDARD_NAMES
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    from transfer.datasets.labelled import Labelled

LIBRARIES = {"scipy": "scipy", "cv2": "opencv-python-headless"}
PHOTOGRAPHED = "frost"


@dataclass
class Options:
    """Whose head, which corruptions, and how many images."""

    trained_head: str = option("", "head that linear wrote beside its result, RESULT-head.pth", path=True)
    corruptions: list[str] = option(
        [],
        "which; none means ImageNet-C's 15, without frost where frost= is unset",
        choices=STANDARD_NAMES + FURTHER_NAMES,
    )
    severities: list[int] = option([1, 2, 3, 4, 5], "strengths", at_least=1, at_most=5)
    frost: str = option("", "folder of the five photographs of frost, of github.com/hendrycks/robustness", path=True)
    most_images: int = option(0, "images of val at most, evenly spaced; 0 takes all", at_least=0)


def names_of(options: Options) -> list[str]:
    """The corruptions that are measured."""
    usual = [name for name in STANDARD_NAMES if name != PHOTOGRAPHED or options.frost]
    return options.corruptions or usual


def check_options(options: Options, _: Common) -> None:
    """Refuse where there is no head, no library, no severity, or no photograph of frost.

    Raises:
        UserError: with the remedy.
    """
    if not options.trained_head:
        raise UserError("corruptions needs trained_head=FILE: the head that `linear` wrote beside its result.")
    for module, package in LIBRARIES.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"corruptions needs {package}: pip install {package}.")
    if not options.severities:
        raise UserError("severities=[] leaves nothing to measure: give some of 1 to 5.")
    if PHOTOGRAPHED in names_of(options):
        from transfer.datasets.corruptions.weather import check_frost

        check_frost(Path(options.frost) if options.frost else None)


def check_classes(options: Options, _: Common, data: Labelled) -> None:
    """Refuse a head that lacks a class of val."""
    from transfer.classifiers.linear.linear_head import load_head, places

    places(load_head(Path(options.trained_head))[1], data.val.classes, data.val.root)


def measure(subject: Subject, options: Options) -> Outcome:
    """Top-1 on clean images and under each corruption, its mean over severities, and the mean corruption error."""
    import cv2
    import numpy as np

    from pretrain.runtime.printable import say
    from transfer.classifiers import robust_accuracy
    from transfer.classifiers.linear.linear_head import load_head, places
    from transfer.datasets.corruptions import corrupted
    from transfer.datasets.labelled import thinned
    from transfer.features.extract import extract_with
    from transfer.per_image import of_means

    data, common, device = subject.data, subject.common, subject.device
    head, origin = load_head(Path(options.trained_head), subject.trunk_sha256())
    row = places(origin, data.val.classes, data.val.root)
    source = thinned(data.val, options.most_images or len(data.val))
    trunk, frost = subject.trunk(), Path(options.frost) if options.frost else None

    def top1(name: str, severity: int) -> dict[str, float]:
        """Of the images that can be read, under one corruption, "" for none: 100 for each that is right."""
        change = partial(corrupted, name=name, severity=severity, frost=frost) if name else None
        rows = extract_with(common, trunk, source, device, f"{name or 'clean'} {severity or ''}".strip(), change)
        right = [[row[label]] for label in rows.labels.tolist()]
        hits = robust_accuracy.hits_of_sets(head.scores(rows.rows), right, None)["top1"]
        return dict(zip(rows.names, hits.tolist(), strict=True))

    clean, names = top1("", 0), names_of(options)
    found = {(name, severity): top1(name, severity) for name in names for severity in sorted(set(options.severities))}
    if PHOTOGRAPHED not in names and not options.corruptions:
        say("note: frost is left out, because frost= names no folder of its photographs: there is no mCE without it")
    of_images = {place: np.array([hits[name] for name in clean]) for place, hits in found.items()}
    means = {f"clean, {len(source)} images, top1": np.array(list(clean.values()))}
    means |= robust_accuracy.of_corruptions(of_images)
    metrics = {name: float(values.mean()) for name, values in means.items()}
    details: dict[str, object] = {"head": origin.protocol, "opencv": cv2.__version__}
    details |= {"by severity": {f"{name} {severity}": float(one.mean()) for (name, severity), one in of_images.items()}}
    severities = "".join(map(str, sorted(set(options.severities))))
    protocol = f"corruptions of ImageNet-C at severities {severities} by a trained head ({origin.protocol})"
    counts, kept = {"val": len(source), "head_classes": len(origin.classes)}, of_means(clean, means)
    return Outcome(metrics, protocol, counts, details, per_image=kept)


EVALUATOR = Evaluator(
    Task("corruptions", "Corrupted images", headline="mean", headline_alone=False, less=("mCE",), order=32),
    "a trained head on val under ImageNet-C's 15 corruptions and 4 further ones, made here",
    measure,
    needs=lambda _: Needs.TRUNK,
    options=Options,
    check=check_options,
    check_data=check_classes,
    several_processes=True,
)
