"""Which numbers belong together: trials of one evaluation, and pretrained against random initialisation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transfer.report.collect.bootstrap import Interval, over_images, over_seeds
from transfer.report.collect.files import Downstream, PretrainingRun, differing, evaluation, finite
from transfer.report.collect.names import RANDOM, arch_name, maker, recipe_of
from transfer.results import TASKS, Result
from transfer.tasks import is_better

SHORT = 12  # digits of a commit that are shown
ABSENT = "—"
NOT_APART = "not distinguishable"
# by the sides that there are
NOT_COMPARED = {(): "no number", ("pretrained",): "no random baseline", ("random",): "no pretrained result"}


@dataclass(frozen=True)
class Summary:
    """The values of one number over trials (other seeds, other checkpoints of the same recipe)."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, results: Sequence[Result], metric: str) -> Summary | None:
        """Of one metric over `results`, None where none of them has it."""
        values = tuple(float(one.metrics[metric]) for one in results if finite(one.metrics.get(metric)))
        return cls(values) if values else None

    @property
    def mean(self) -> float:
        """Of all trials."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator), None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int = 2) -> str:
        """ "41.20 ± 0.35 (n=3)", or "41.20 (n=1)" for a single trial."""
        spread = "" if self.std is None else f" ± {self.std:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread} (n={len(self.values)})"


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
    def network(self) -> str:
        """ "ResNet-50, UniGrad, 100 epochs"."""
        return f"{arch_name(self.first.arch)}, {self.recipe}"

    @property
    def epochs(self) -> float | None:
        """Of pretraining, None where the checkpoint does not tell."""
        epoch = self.first.pretraining.get("epoch")
        return float(epoch) if finite(epoch) else None

    def metrics(self) -> list[str]:
        """Names of all metrics, in the order of the files."""
        return list(dict.fromkeys(name for one in self.results for name in one.metrics))

    def cell(self, metric: str, digits: int = 1) -> str:
        """ "57.0 ± 1.4 (n=2)", of a single trial without ±."""
        summary = Summary.of(self.results, metric)
        return summary.text(digits) if summary else ABSENT

    def tags(self) -> dict[str, str]:
        """What a table tells beside the numbers; several hardware names or commits, or days, stand together."""
        return {
            "Protocol": self.first.protocol,
            "Data": self.first.dataset,
            "Date": days_text(self.results),
            "Hardware": "; ".join(sorted({one.hardware or "not recorded" for one in self.results})),
            "Commit": ", ".join(sorted({_short(one.commit or "not recorded") for one in self.results})),
        }


def group_trials(results: Sequence[Downstream], runs: Sequence[PretrainingRun]) -> list[Trials]:
    """Every evaluation, its trials together; results that a newer file supersedes do not count."""
    groups: dict[tuple[str, tuple[object, ...]], list[Result]] = {}
    for one in (entry.result for entry in results if not entry.superseded):
        sizes = (one.counts.get(name) for name in ("train", "val", "classes"))
        same = (one.pretraining.get("epoch"), *evaluation(one), *sizes)
        groups.setdefault((recipe_of(one, runs), same), []).append(one)
    return [Trials(tuple(alike), recipe, maker(runs, alike[0])) for (recipe, _), alike in groups.items()]


@dataclass(frozen=True)
class Comparison:
    """The results of one recipe beside those of random initialisation; numbers of another protocol never enter it."""

    task: str
    dataset: str
    protocol: str
    arch: str
    recipe: str  # "" where there are random results alone
    sides: dict[str, list[Downstream]]  # by "random", those of all recipes, and "pretrained"
    start: tuple[Downstream, ...] = ()  # of the weights that the recipe has started from, as they were

    @property
    def key(self) -> tuple[str, ...]:
        """The evaluation, by which it has a name (names.evaluation_names)."""
        return self.task, self.dataset, self.arch, self.protocol

    def results(self, *inits: str) -> list[Result]:
        """Of the given sides."""
        return [entry.result for init in inits for entry in self.sides[init]]

    def remarks(self, metric: str) -> Iterator[str]:
        """What a reader must know before trusting the comparison of a metric."""
        for init in self.sides:
            hashes = [result.checkpoint_sha256 for result in self.results(init)]
            if len(hashes) > 1 and len(set(hashes)) == 1 and hashes[0]:
                shared = f"the {len(hashes)} {init} results share one checkpoint"
                yield f"{shared}: ± is the evaluation's spread alone"
        if any(result.pretraining.get("silent_blocks") for result in self.results("random")):
            yield "the random network's residual blocks start at zero and add nothing: it is a weak baseline"
        every = self.results("random", "pretrained")
        for what in ("counts", "settings"):
            if names := differing(every, what):
                yield f"{what} differ between these results: {', '.join(names)}"
        if lacking := sum(not finite(result.metrics.get(metric)) for result in every):
            yield f"{metric} is missing or not a number in {lacking} of {len(every)} results"


@dataclass(frozen=True)
class Row:
    """One metric of a comparison."""

    of: Comparison
    metric: str
    sides: dict[str, Summary]  # by init, those that have a number
    start: Summary | None = None  # of the weights that were started from

    @property
    def gain_text(self) -> str:
        """Pretrained minus the weights that it has started from, as `difference_text`."""
        pretrained = self.sides.get("pretrained")
        return _minus(pretrained, self.start) if pretrained and self.start else ABSENT

    @property
    def difference(self) -> float | None:
        """Pretrained minus random, of the means."""
        return self.sides["pretrained"].mean - self.sides["random"].mean if len(self.sides) == 2 else None

    @property
    def difference_text(self) -> str:
        """ "+11.30 ± 0.50", both sample deviations in quadrature; without ± unless both sides have one."""
        return ABSENT if self.difference is None else _minus(self.sides["pretrained"], self.sides["random"])

    @property
    def images(self) -> Interval | None:
        """Where the difference lies over the images that both sides judged, if they keep what came of each."""
        both = len(self.sides) == 2
        return over_images(self.of.results("pretrained"), self.of.results("random"), self.metric) if both else None

    @property
    def seeds(self) -> Interval | None:
        """Where the difference lies over seeds, if both sides have several."""
        both = len(self.sides) == 2
        return over_seeds(*(self.sides[init].values for init in ("pretrained", "random"))) if both else None

    @property
    def reading(self) -> str:
        """The comparison in words.

        "not distinguishable" where an interval over images or over seeds holds 0; without both "within the spread"
        where mean ± std of the two sides touch or overlap.
        """
        if self.difference is None:
            return NOT_COMPARED[tuple(self.sides)]
        if self.difference == 0:
            return "no difference"
        seeds = self.seeds
        if any(one and not one.apart for one in (self.images, seeds)):
            return NOT_APART
        if not seeds and abs(self.difference) <= sum(side.std or 0.0 for side in self.sides.values()):
            return "within the spread"
        single = [init for init, side in self.sides.items() if side.std is None]  # which has no spread to be beyond
        sure = "single runs" if len(single) == 2 else f"single {single[0]} run" if single else "beyond the spread"
        return f"{'better' if is_better(self.of.task, self.metric, self.difference) else 'worse'}, {sure}"


def _minus(one: Summary, other: Summary) -> str:
    """The difference of two means, with both sample deviations in quadrature where both have one."""
    spread = "" if one.std is None or other.std is None else f" ± {math.hypot(one.std, other.std):.2f}"
    return f"{one.mean - other.mean:+.2f}{spread}"


def comparisons(results: Sequence[Downstream], runs: Sequence[PretrainingRun]) -> list[Comparison]:
    """One for each protocol and each recipe under it, if any; what a newer file supersedes does not count."""
    groups: dict[tuple[str, str, str, str], dict[str, list[Downstream]]] = {}
    for entry in results:
        if not entry.superseded:
            one = entry.result
            recipes = groups.setdefault((one.task, one.dataset, one.protocol, one.arch), {})
            recipes.setdefault(recipe_of(one, runs), []).append(entry)
    made = []
    for evaluated, recipes in groups.items():
        random, every = recipes.pop(RANDOM, []), [entry for alike in recipes.values() for entry in alike]
        pretrained = {name: alike for name, alike in recipes.items() if alike[0].result.init != "starting"}
        for recipe, own in sorted(pretrained.items()) or [("", [])]:
            sides = {"random": random, "pretrained": own}
            made.append(Comparison(*evaluated, recipe, sides, tuple(_starting(own, every))))
    return made


def _starting(own: Sequence[Downstream], every: Sequence[Downstream]) -> Iterator[Downstream]:
    """Of `every` result those of the weights that `own` have started from: of that file, or of a run's initial.pth."""
    origins = {entry.result.pretraining.get("init_sha256") for entry in own} - {None}
    for one in every:
        begun = one.result.init == "starting" and one.result.pretraining.get("init_sha256") in origins
        if begun or one.result.checkpoint_sha256 in origins:
            yield one


def compare(results: Sequence[Downstream], runs: Sequence[PretrainingRun]) -> list[Row]:
    """Every metric of every comparison, by network, then in the order of results.TASKS."""
    each = comparisons(results, runs)
    each.sort(key=lambda one: (one.arch, TASKS.index(one.task), one.dataset, one.protocol, one.recipe))
    rows = []
    for of in each:
        for metric in dict.fromkeys(name for one in of.results("pretrained", "random") for name in one.metrics):
            sides = {init: Summary.of(of.results(init), metric) for init in of.sides}
            start = Summary.of([entry.result for entry in of.start], metric)
            rows.append(Row(of, metric, {init: summary for init, summary in sides.items() if summary}, start))
    return rows


def of_last_epochs(results: Sequence[Downstream]) -> list[Downstream]:
    """Without those of a run's earlier exports, where the same evaluation has one of a later epoch."""

    def place(entry: Downstream) -> tuple[object, ...]:
        one = entry.result
        return evaluation(one), one.seed, str(one.pretraining.get("run") or one.checkpoint)

    def epochs(entry: Downstream) -> float:
        epoch = entry.result.pretraining.get("epoch")
        return float(epoch) if finite(epoch) else math.inf

    last: dict[tuple[object, ...], float] = {}
    for entry in results:
        last[place(entry)] = max(epochs(entry), last.get(place(entry), 0.0))
    return [entry for entry in results if entry.result.init == "random" or epochs(entry) == last[place(entry)]]


def days_text(results: Sequence[Result]) -> str:
    """ "2025-01-02", or "2025-01-02 to 2025-01-05"."""
    days = sorted({one.date[:10] for one in results})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def epochs_text(epochs: float | None) -> str:
    """ "100", or a dash."""
    return ABSENT if epochs is None else f"{epochs:g}"


def _short(commit: str) -> str:
    """Of a SHA the first digits, and whether the tree was dirty; "not recorded" as it is."""
    sha, *dirty = commit.split("-", 1)
    return "-".join([sha if " " in sha else sha[:SHORT], *dirty])
