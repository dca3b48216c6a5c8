"""Accuracy of a trained head on changed images: by groups, among some classes, and as ImageNet-C sums it up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from transfer.classifiers.accuracy import reported
from transfer.datasets.corruption_names import ALEXNET, STANDARD_NAMES

SEVERITIES = 5


def hits_of_sets(
    scores: torch.Tensor, right: Sequence[Sequence[int]], among: Sequence[int] | None
) -> dict[str, torch.Tensor]:
    """{"top1", "top5"}: 100 for each row (n,) of which any of several classes is right, else 0; float64.

    Args: scores (n, classes); right, n times the classes that count; among, those whose scores are compared, None for
        all of them.
    """
    allowed = torch.zeros(scores.shape[1], dtype=torch.bool)
    allowed[list(range(scores.shape[1]) if among is None else among)] = True
    wanted = torch.zeros_like(scores, dtype=torch.bool)
    for row, classes in enumerate(right):
        wanted[row, list(classes)] = True
    sound = scores.isfinite().all(1)
    compared = scores.masked_fill(~allowed, -torch.inf)
    found = {}
    for k in reported(int(allowed.sum())):
        best = compared.topk(k, dim=1).indices
        found[f"top{k}"] = 100 * (wanted.gather(1, best).any(1) & sound).double()
    return found


def of_sets(scores: torch.Tensor, right: Sequence[Sequence[int]], among: Sequence[int] | None) -> dict[str, float]:
    """The means of `hits_of_sets`, in percent."""
    return {name: hits.mean().item() for name, hits in hits_of_sets(scores, right, among).items()}


def of_corruptions(top1: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
    """The mean over severities of each corruption, the mean over these, and their mean corruption error.

    Where ImageNet-C's 15 are there at all five severities, both are of these 15; the latter divides each error by
    AlexNet's (Hendrycks and Dietterich, 2019). Else the mean is over those that are there, if all have the same
    severities, and its name says how many and which these are.

    Args: top1, in percent, by corruption and severity: a number, or one for each image (n,), of which every mean is one
        over images too.
    """
    by_name: dict[str, dict[int, Any]] = {}
    for (name, severity), value in top1.items():
        by_name.setdefault(name, {})[severity] = value
    means = {name: sum(values.values()) / len(values) for name, values in by_name.items()}
    found = {f"{name.replace('_', ' ')}, top1": value for name, value in means.items()}
    whole = all(len(by_name.get(name, ())) == SEVERITIES for name in STANDARD_NAMES)
    averaged = list(STANDARD_NAMES) if whole else list(means)
    if len(averaged) > 1 and len({tuple(sorted(by_name[name])) for name in averaged}) == 1:
        at = _named(sorted(by_name[averaged[0]]))
        found[f"mean of {len(averaged)} corruptions{at}, top1"] = sum(means[name] for name in averaged) / len(averaged)
    if whole:
        errors = [100 * (100 - means[name]) / ALEXNET[name] for name in STANDARD_NAMES]
        found["mCE"] = sum(errors) / len(errors)
    return found


def _named(severities: Sequence[int]) -> str:
    """ " at severities 1, 3"; nothing for all of them."""
    if len(severities) == SEVERITIES:
        return ""
    return f" at severit{'y' if len(severities) == 1 else 'ies'} {', '.join(map(str, severities))}"


def split_corruptions(groups: Mapping[str, Any]) -> tuple[dict[tuple[str, int], Any], dict[str, Any]]:
    """What is held of groups such as "C fog 3" by corruption and severity, and those of all other groups."""
    hits = {name: re.fullmatch(r"C (\w+) (\d)", name) for name in groups}
    corrupted = {(hit[1], int(hit[2])): groups[name] for name, hit in hits.items() if hit}
    return corrupted, {name: value for name, value in groups.items() if not hits[name]}
