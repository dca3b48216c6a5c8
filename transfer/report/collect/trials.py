"""Our numbers with everything that a reader must know beside them: repetitions of one evaluation of one recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transfer.report.collect.recipe import maker, recipe_of
from transfer.report.collect.same_evaluation import evaluation
from transfer.report.collect.search import Downstream, PretrainingRun, finite
from transfer.report.collect.statistics import Summary, value_text
from transfer.results import Result

RANDOM = "random initialisation"
TAGS = ("Protocol", "Data", "Date", "Hardware", "Commit")
SHORT = 12  # digits of a commit that are shown
ABSENT = "—"


@dataclass(frozen=True)
class Trials:
    """Results that differ in their seeds alone. recipe: what was pretrained, in words. run: where it was, if found."""

    results: tuple[Result, ...]
    recipe: str
    run: PretrainingRun | None

    @property
    def first(self) -> Result:
        """One of them, for what all have in common."""
        return self.results[0]

    @property
    def epochs(self) -> float | None:
        """Of pretraining, None where the checkpoint does not tell."""
        epoch = self.first.pretraining.get("epoch")
        return float(epoch) if finite(epoch) else None

    def summary(self, metric: str) -> Summary | None:
        """Of one metric over the trials, None where none of them has it."""
        return Summary.of(self.results, metric)

    def cell(self, metric: str, digits: int = 1) -> str:
        """ "57.0 ± 1.4 (n=2)", of a single trial without ±."""
        return value_text(self.summary(metric), digits)

    def metrics(self) -> list[str]:
        """Names of all metrics, in the order of the files."""
        return list(dict.fromkeys(name for one in self.results for name in one.metrics))

    def tags(self) -> tuple[str, ...]:
        """In the order of TAGS; several hardware names or commits, or days, stand together."""
        commits = sorted({_short(one.commit) for one in self.results})
        hardware = sorted({one.hardware or "not recorded" for one in self.results})
        days = days_text(self.results)
        return self.first.protocol, self.first.dataset, days, "; ".join(hardware), ", ".join(commits)


def days_text(found: Sequence[Result]) -> str:
    """ "2025-01-02", or "2025-01-02 to 2025-01-05"."""
    days = sorted({one.date[:10] for one in found})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def epochs_text(epochs: float | None) -> str:
    """ "100", or a dash."""
    return ABSENT if epochs is None else f"{epochs:g}"


def group_trials(found: Sequence[Downstream], runs: Sequence[PretrainingRun]) -> list[Trials]:
    """Every evaluation, its trials together; results that a newer file supersedes do not count."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for entry in found:
        one = entry.result
        if entry.superseded:
            continue
        recipe = RANDOM if one.init == "random" else recipe_of(one, runs)
        sizes = (one.counts.get(name) for name in ("train", "val", "classes"))
        key = (recipe, one.pretraining.get("epoch"), *evaluation(one), *sizes)
        groups.setdefault(key, []).append(one)
    return [Trials(tuple(together), str(key[0]), maker(runs, together[0])) for key, together in groups.items()]


def _short(commit: str | None) -> str:
    sha, _, dirty = (commit or "not recorded").partition("-")
    return (sha if " " in sha else sha[:SHORT]) + (f"-{dirty}" if dirty else "")
