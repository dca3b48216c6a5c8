"""Accuracy of a trained head on changed images: by groups, among some classes, and as ImageNet-C sums it up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from transfer.classifiers.accuracy import reported
from transfer.datasets.corruption_names import ALEXNET, STANDARD_NAMES

SEVERITIES = 5


def of_sets(scores: torch.Tensor, right: Sequence[Sequence[int]], among: Sequence[int] | None) -> dict[str, float]:
    """{"top1", "top5"} in percent of rows of which any of several classes is right.

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
        found[f"top{k}"] = 100 * (wanted.gather(1, best).any(1) & sound).double().mean().item()
    return found


def of_corruptions(top1: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """The mean over severities of each corruption, that over ImageNet-C's 15, and their mean corruption error.

    The latter divides each error by AlexNet's (Hendrycks and Dietterich, 2019); both are told where all 15 are there at
    all five severities.

    Args: top1, in percent, by corruption and severity.
    """
    names = list(dict.fromkeys(name for name, _ in top1))
    by_name = {name: [value for (one, _), value in top1.items() if one == name] for name in names}
    means = {name: sum(values) / len(values) for name, values in by_name.items()}
    found = {f"{name.replace('_', ' ')}, top1": value for name, value in means.items()}
    if all(len(by_name.get(name, ())) == SEVERITIES for name in STANDARD_NAMES):
        found["mean of 15 corruptions, top1"] = sum(means[name] for name in STANDARD_NAMES) / len(STANDARD_NAMES)
        errors = [100 * (100 - means[name]) / ALEXNET[name] for name in STANDARD_NAMES]
        found["mCE"] = sum(errors) / len(errors)
    return found


def split_corruptions(groups: Mapping[str, float]) -> tuple[dict[tuple[str, int], float], dict[str, float]]:
    """Numbers of groups such as "C fog 3" by corruption and severity, and those of all other groups."""
    hits = {name: re.fullmatch(r"C (\w+) (\d)", name) for name in groups}
    corrupted = {(hit[1], int(hit[2])): groups[name] for name, hit in hits.items() if hit}
    return corrupted, {name: value for name, value in groups.items() if not hits[name]}
