"""Variants of ImageNet (V2, A, R, Sketch, C, ObjectNet) judged by a head that was trained on ImageNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from pretrain.runtime.printable import say
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import Common

if TYPE_CHECKING:
    import torch

    from transfer.classifiers.linear.linear_head import Origin
    from transfer.datasets.labelled import Labelled
    from transfer.datasets.variants.base import Place
    from transfer.per_image import PerImage

VARIANTS = ("v2", "a", "r", "sketch", "c", "objectnet")


@dataclass
class Options:
    """Whose head, and which variants."""

    trained_head: str = option("", "head that linear wrote beside its result, RESULT-head.pth", path=True)
    variants: list[str] = option([], "which variants; none means all whose folders are there", choices=VARIANTS)
    shared: bool = option(False, "leave out classes that the head has not, rather than refuse them")


def check_head(options: Options, _: Common) -> None:
    """Refuse where there is no head.

    Raises:
        UserError: with what makes one.
    """
    if not options.trained_head:
        raise UserError("variants needs trained_head=FILE: the head that `linear` on ImageNet wrote beside its result.")


def open_data(root: Path, options: Options, _: Common) -> Labelled:
    """All images of the variants below a folder; the head's classes are asked for before any is read."""
    from transfer.classifiers.linear.linear_head import load_head
    from transfer.datasets.variants import open_variants

    data = open_variants(root, options.variants)
    _places(data, load_head(Path(options.trained_head))[1], options.shared)
    return data


def measure(subject: Subject, options: Options) -> Outcome:
    """Top-1 and top-5 of each variant; of ImageNet-C the mean of each corruption, and the mean corruption error."""
    import torch

    from transfer.classifiers import robust_accuracy
    from transfer.classifiers.linear.linear_head import load_head

    head, origin = load_head(Path(options.trained_head), subject.trunk_sha256())
    _tell_size(origin, subject.common)
    places = _places(subject.data, origin, options.shared)
    rows = subject.rows_of(subject.data.val)
    of = [places[label] for label in rows.labels.tolist()]
    scores, row = head.scores(rows.rows), {name: at for at, name in enumerate(origin.classes)}
    found: dict[str, dict[str, torch.Tensor]] = {}
    names: dict[str, list[str]] = {}
    for group in dict.fromkeys(place.group for place in places if place):
        at = [index for index, place in enumerate(of) if place is not None and place.group == group]
        right = [[row[name] for name in place.wnids if name in row] for index in at if (place := of[index])]
        if at:
            found[group] = robust_accuracy.hits_of_sets(scores[torch.tensor(at)], right, _among(group, row))
            names[group] = [rows.names[index] for index in at]
    top1 = {name: values["top1"].mean().item() for name, values in found.items()}
    corrupted, others = robust_accuracy.split_corruptions(top1)
    metrics = {f"{name} {kind}": value.mean().item() for name in others for kind, value in found[name].items()}
    metrics |= {f"C {name}": value for name, value in robust_accuracy.of_corruptions(corrupted).items()}
    judged = sum(place is not None for place in of)
    counts = {"val": judged, "skipped": len(rows.skipped), "left_out": len(of) - judged}
    details: dict[str, object] = {"head": origin.protocol, "head_classes": len(origin.classes)}
    details |= {"C by severity": {f"{name} {severity}": value for (name, severity), value in corrupted.items()}}
    restricted = "; A and R among their own 200 classes" + (", classes of the head alone" if options.shared else "")
    protocol = f"variants of ImageNet by a trained head ({origin.protocol}){restricted}"
    return Outcome(metrics, protocol, counts, details, per_image=_per_image(found, names))


def _per_image(hits: Mapping[str, Mapping[str, torch.Tensor]], names: Mapping[str, Sequence[str]]) -> PerImage:
    """By group and metric 100 for each of its images that is right; of ImageNet-C the means of each photograph.

    A photograph counts once, however many corruptions show it: CLASS/NAME at the end of its images' names. Where one
    lacks a corruption that others have, there are no outcomes of ImageNet-C.
    """
    import numpy as np

    from transfer.classifiers import robust_accuracy
    from transfer.per_image import of_means

    corrupted, others = robust_accuracy.split_corruptions({name: hits[name]["top1"] for name in hits})
    columns = [(names[name], {f"{name} {kind}": one.numpy() for kind, one in hits[name].items()}) for name in others]
    places = {
        key: dict(
            zip(("/".join(name.split("/")[-2:]) for name in names[f"C {key[0]} {key[1]}"]), one.tolist(), strict=True)
        )
        for key, one in corrupted.items()
    }
    photographs = sorted(next(iter(places.values()), {}))
    if photographs and all(sorted(one) == photographs for one in places.values()):
        of_photographs = {key: np.array([one[name] for name in photographs]) for key, one in places.items()}
        means = robust_accuracy.of_corruptions(of_photographs)
        columns.append(([f"C {name}" for name in photographs], {f"C {name}": one for name, one in means.items()}))
    every, found, first = [name for listed, _ in columns for name in listed], dict[str, np.ndarray](), 0
    for listed, means in columns:
        for metric, values in means.items():
            found[metric] = np.full(len(every), np.nan)
            found[metric][first : first + len(listed)] = values
        first += len(listed)
    return of_means(every, found)


def _among(group: str, row: dict[str, int]) -> list[int] | None:
    """The head's rows of the classes among which a group is judged; None for all."""
    from transfer.datasets.variants import variants

    own = {"A": "a", "R": "r"}.get(group)
    among = variants()[own].among if own else None
    return None if among is None else [row[name] for name in among() if name in row]


def _places(data: Labelled, origin: Origin, shared: bool) -> list[Place | None]:
    """Where the images of each of the data's classes belong; None where they are left out.

    Raises:
        UserError: a folder is no class of its variant, or the head lacks one.
    """
    from transfer.classifiers.linear import linear_head
    from transfer.datasets.variants import variant_of

    found: list[Place | None] = []
    for name in data.val.classes:
        top, _, inside = name.partition("/")
        variant = variant_of(top)
        assert variant is not None, "only folders of variants are opened"
        found.append(variant.place(data.val.root / top, inside))
    if not shared:
        wanted = sorted({wnid for place in found if place for wnid in place.wnids})
        linear_head.places(origin, wanted, f"{data.val.about.partition(':')[0]} (shared=true leaves such out)")
    known = set(origin.classes)
    kept = [place if place and known & set(place.wnids) else None for place in found]
    if not any(kept):
        raise UserError(
            f"{data.name} has no class of the head, whose first is '{origin.classes[0]}': give its own head."
        )
    return kept


def _tell_size(origin: Origin, common: Common) -> None:
    from transfer.features.pictures import resize_for

    seen = common.image_size, resize_for(common.image_size, common.resize)
    if seen != (origin.image_size, origin.resize):
        trained = f"image_size={origin.image_size} resize={origin.resize}"
        say(f"note: the head was trained with {trained}, and is used with image_size={seen[0]} resize={seen[1]}")


EVALUATOR = Evaluator(
    Task("variants", "Variants of ImageNet", headline="top1", headline_alone=False, less=("C mCE",), order=30),
    "a head of ImageNet on V2, A, R, Sketch, C and ObjectNet: trained_head= names its file",
    measure,
    needs=lambda _: Needs.OTHER_ROWS,
    options=Options,
    check=check_head,
    several_processes=True,
    open_data=open_data,
)
