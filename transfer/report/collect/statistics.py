"""Pretrained against random initialisation: which numbers belong together, their spread, and how to read them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from transfer.report.collect.recipe import Protocol, by_recipe
from transfer.report.collect.same_evaluation import differing
from transfer.report.collect.search import Downstream, PretrainingRun, finite
from transfer.results import TASKS, Result

# by whether there is a random and a pretrained side
NOT_COMPARED = {(False, False): "no number", (False, True): "no random baseline", (True, False): "no pretrained result"}


@dataclass(frozen=True)
class Summary:
    """The values of one number over repetitions (other seeds, other checkpoints of the same recipe)."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, found: Sequence[Result], metric: str) -> Summary | None:
        """Of one metric over `found`, None where none of them has it."""
        values = tuple(float(one.metrics[metric]) for one in found if finite(one.metrics.get(metric)))
        return cls(values) if values else None

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator), None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One metric of one protocol on one data set with one architecture; numbers of another never enter it.

    recipe: of the pretrained side (method, steps, configuration), "" where there is none. random, pretrained: None
    where no such result was found. remarks: what a reader must know before trusting the comparison.
    """

    task: str
    dataset: str
    protocol: str
    arch: str
    recipe: str
    metric: str
    random: Summary | None
    pretrained: Summary | None
    remarks: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[str, str, str]:
        """What two protocols must share to be told apart in a row's name."""
        return self.task, self.dataset, self.arch

    @property
    def difference(self) -> float | None:
        """Pretrained minus random, of the means."""
        return self.pretrained.mean - self.random.mean if self.pretrained and self.random else None

    @property
    def difference_std(self) -> float | None:
        """Both sample deviations in quadrature, None unless both sides have one."""
        if not self.pretrained or not self.random or self.pretrained.std is None or self.random.std is None:
            return None
        return float((self.pretrained.std**2 + self.random.std**2) ** 0.5)


def reading(row: Row) -> str:
    """The comparison in words; "within the spread" where mean ± std of the two sides touch or overlap.

    A single run has no spread of its own: a difference from or to one is named as such, not as beyond anything.
    """
    if row.random is None or row.pretrained is None:
        return NOT_COMPARED[bool(row.random), bool(row.pretrained)]
    difference = row.pretrained.mean - row.random.mean
    if difference == 0:
        return "no difference"
    spread = sum(side.std or 0.0 for side in (row.random, row.pretrained))
    single = [name for name in ("random", "pretrained") if len(getattr(row, name).values) == 1]
    if abs(difference) <= spread:
        return "within the spread"
    direction = "better" if difference > 0 else "worse"
    if single:
        return f"{direction}, {'single runs' if len(single) == 2 else f'single {single[0]} run'}"
    return f"{direction}, beyond the spread"


def value_text(summary: Summary | None, digits: int = 2) -> str:
    """ "41.20 ± 0.35 (n=3)", or "41.20 (n=1)" for a single run."""
    if summary is None:
        return "—"
    spread = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread} (n={len(summary.values)})"


def difference_text(row: Row) -> str:
    """ "+11.30 ± 0.50", without ± unless both sides have one."""
    if row.difference is None:
        return "—"
    return f"{row.difference:+.2f}" + ("" if row.difference_std is None else f" ± {row.difference_std:.2f}")


def compare(found: Sequence[Downstream], runs: Sequence[PretrainingRun]) -> list[Row]:
    """One row for each (task, data set, protocol, architecture, recipe, metric), in the order of results.TASKS.

    Results that a newer file supersedes do not count. Every recipe is set beside all random results of its protocol.
    """
    each = sorted(by_recipe(found, runs), key=lambda of: (of[0][3], TASKS.index(of[0][0]), *of[0][1:3], of[1]))
    sides = ([[entry.result for entry in both[init]] for init in ("random", "pretrained")] for _, _, both in each)
    return [row for (key, recipe, _), both in zip(each, sides, strict=True) for row in _rows(key, recipe, *both)]


def _rows(key: Protocol, recipe: str, random: list[Result], pretrained: list[Result]) -> list[Row]:
    metrics = dict.fromkeys(name for result in [*pretrained, *random] for name in result.metrics)
    remarks = _remarks(random, pretrained)
    return [
        Row(*key, recipe, metric, Summary.of(random, metric), Summary.of(pretrained, metric), remarks + lacking)
        for metric in metrics
        for lacking in [_absent([*random, *pretrained], metric)]
    ]


def _absent(found: list[Result], metric: str) -> tuple[str, ...]:
    absent = sum(not finite(result.metrics.get(metric)) for result in found)
    return (f"{metric} is missing or not a number in {absent} of {len(found)} results",) if absent else ()


def _remarks(random: list[Result], pretrained: list[Result]) -> tuple[str, ...]:
    remarks = []
    for name, side in (("random", random), ("pretrained", pretrained)):
        hashes = {result.checkpoint_sha256 for result in side}
        if len(side) > 1 and len(hashes) == 1 and "" not in hashes:
            remarks.append(f"the {len(side)} {name} results share one checkpoint: ± is the evaluation's spread alone")
    everything = [*random, *pretrained]
    for what in ("counts", "settings"):
        names = differing(everything, what)
        if names:
            remarks.append(f"{what} differ between these results: {', '.join(names)}")
    return tuple(remarks)
