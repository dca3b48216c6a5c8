"""Two networks beside each other: their numbers, both intervals of the difference, and what follows from them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from transfer.report.collect.bootstrap import over_images, over_seeds
from transfer.report.collect.trials import ABSENT, NOT_APART, Summary, Trials
from transfer.tasks import is_better

FEW = 4  # networks of which every pair is compared


def paired(networks: Sequence[str]) -> list[tuple[str, str]]:
    """Every pair of networks, the better of which come first; of more than FEW each with the first one."""
    return [pair for pair in itertools.combinations(networks, 2) if len(networks) <= FEW or networks[0] in pair]


def compared(one: Trials, other: Trials, metric: str) -> dict[str, str]:
    """The numbers of two networks, their difference, its two intervals, and what follows."""
    sides = [Summary.of(trials.results, metric) for trials in (one, other)]
    if sides[0] is None or sides[1] is None:
        return {"Metric": metric}
    difference = sides[0].mean - sides[1].mean
    intervals = over_images(one.results, other.results, metric), over_seeds(sides[0].values, sides[1].values)
    over = [f"over {what}" for what, found in zip(("images", "seeds"), intervals, strict=True) if found]
    if any(found and not found.apart for found in intervals) or not difference:
        outcome = NOT_APART
    else:
        side = "better" if is_better(one.first.task, metric, difference) else "worse"
        outcome = f"{side} {' and '.join(over)}" if over else "single runs: unknown"
    texts = [found.text() if found else ABSENT for found in intervals]
    return {
        "Metric": metric,
        "First": sides[0].text(),
        "Second": sides[1].text(),
        "Difference": f"{difference:+.2f}",
        "Over images": texts[0],
        "Over seeds": texts[1],
        "Outcome": outcome,
    }
