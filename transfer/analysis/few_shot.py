"""Few-shot accuracy: val is given to the class whose few drawn training images lie nearest on average.

Nearest class mean of l2-normalised rows, all classes at once (Snell et al., 2017, on frozen features).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from transfer.analysis import FrozenRows, Reading

SHOTS, DRAWS = (1, 5, 10), 20


def few_shot_accuracy(frozen: FrozenRows) -> Iterator[tuple[str, float]]:
    """Mean and sample standard deviation of top-1 over DRAWS draws, for as many shots as every class has images."""
    import torch
    from torch.nn import functional

    from transfer.classifiers.accuracy import hits
    from transfer.features.on_device import to_device

    train, device = frozen.bank, frozen.device
    labels, wanted = frozen.train.labels, to_device(frozen.val.labels, device)
    members = [(labels == label).nonzero()[:, 0] for label in range(frozen.classes)]
    queries = functional.normalize(to_device(frozen.val.rows[:], device), dim=1)
    generator = torch.Generator().manual_seed(frozen.seed)
    for shots in SHOTS:
        if shots > min(map(len, members)):
            break
        right = []
        for _ in range(DRAWS):
            drawn = [own[torch.randperm(len(own), generator=generator)[:shots]] for own in members]
            rows = functional.normalize(train.pick(to_device(torch.cat(drawn), train.home)), dim=1)
            means = functional.normalize(rows.view(len(members), shots, -1).mean(1), dim=1)
            right.append(hits(queries @ means.T, wanted, 1).double().mean())
        accuracies = [share * 100 for share in torch.stack(right).tolist()]
        yield f"few-shot, {shots} a class, top1", statistics.fmean(accuracies)
        yield f"few-shot, {shots} a class, std over {DRAWS} draws", statistics.stdev(accuracies)


READING = Reading(
    "few_shot", "accuracy of nearest class means of 1, 5 and 10 images a class", few_shot_accuracy, order=10
)
