"""Few-shot accuracy: val is given to the class whose few drawn training images lie nearest on average.

Nearest class mean of l2-normalised rows, all classes at once (Snell et al., 2017, on frozen features).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch.nn import functional

from transfer.analysis.base import Material
from transfer.evaluators.accuracy import top

SHOTS, DRAWS = (1, 5, 10), 20


def read(material: Material) -> Iterator[tuple[str, float]]:
    """Mean and sample standard deviation of top-1 over DRAWS draws, for as many shots as every class has images."""
    labels = material.train.labels
    members = [(labels == label).nonzero()[:, 0] for label in range(material.classes)]
    queries = functional.normalize(material.val.rows[:], dim=1)
    generator = torch.Generator().manual_seed(material.seed)
    for shots in SHOTS:
        if shots > min(map(len, members)):
            break
        found = []
        for _ in range(DRAWS):
            drawn = [own[torch.randperm(len(own), generator=generator)[:shots]] for own in members]
            rows = functional.normalize(material.train.rows[torch.cat(drawn)], dim=1)
            means = functional.normalize(rows.unflatten(0, (-1, shots)).mean(1), dim=1)
            found.append(top(queries @ means.T, material.val.labels, 1))
        yield f"few-shot, {shots} a class, top1", statistics.fmean(found)
        yield f"few-shot, {shots} a class, std over {DRAWS} draws", statistics.stdev(found)
