"""The table of tools/compare.py: what every row measured, over its seeds, beside the paper's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain import methods
from pretrain.config import Config
from pretrain.runtime.files import write_json, write_text
from tools.trials.trial import Trial
from transfer import results
from transfer.report.collect.files import PretrainingRun, finite
from transfer.report.collect.search import search_folders
from transfer.report.collect.trials import Summary
from transfer.report.published.tables import expected_top1

UNTRAINED = "untrained"
TABLE = "table.json"  # in the folder of a comparison
ALONG = {  # what a run measures of itself, at the steps with a k-NN accuracy
    "epoch": "epoch",
    "knn_top1": "k-NN top-1",
    "linear_running_top1": "running linear top-1",
    "effective_rank": "effective rank",
    "negative_cosine": "mean cosine of negative pairs",
}
AT_THE_END = {"effective_rank": "effective rank", "negative_cosine": "mean cosine of negative pairs"}
PUBLISHED = "paper: ImageNet linear top-1 of a ResNet-50 (another protocol, not comparable)"


@dataclass
class TableRow:
    """A row of the table.

    readings: values by name, then by seed. errors: why a seed has none. curves: by seed, values along the run.
    published: in percent.
    """

    row: str
    letter: str = ""
    method: str = ""
    targets: tuple[str, str] | None = None
    readings: dict[str, dict[int, float]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    curves: dict[int, dict[str, list[float | None]]] = field(default_factory=dict)
    published: float | None = None

    def add(self, seed: int, readings: dict[str, Any]) -> None:
        """Take in one seed's; what is no number is left out."""
        for name, value in readings.items():
            if finite(value):
                self.readings.setdefault(name, {})[seed] = float(value)

    @property
    def seeds(self) -> set[int]:
        """Those of which it has anything."""
        return {*self.errors, *self.curves}.union(*self.readings.values())

    @classmethod
    def of_plain(cls, told: dict[str, Any]) -> TableRow:
        """What `as_json` has written.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is none of those.
        """
        readings = {
            name: dict(zip(of["seeds"], map(float, of["values"]), strict=True)) for name, of in told["readings"].items()
        }
        errors, curves = ({int(seed): of for seed, of in told[key].items()} for key in ("errors", "curves"))
        targets = told.get("targets") and tuple(told["targets"])
        return cls(**told | {"targets": targets, "readings": readings, "errors": errors, "curves": curves})


def untrained(seed: int) -> str:
    """The name of the network of that seed before its first step."""
    return f"{UNTRAINED}-{seed}"


def lines(
    trials: Sequence[Trial], measured: dict[str, list[Path]], errors: dict[str, str], out: Path
) -> list[TableRow]:
    """The untrained network's line, then every row's in the order of `trials`.

    Args:
        trials: in the order of the lines; several seeds of a row share one line.
        measured: result files by name of the trial, or of the untrained network.
        errors: sentences by the same names.
        out: holds the run folders.
    """
    runs = {run.folder: run for run in search_folders([out]).runs} if measured else {}
    found = {UNTRAINED: TableRow(UNTRAINED)} | {trial.row: _line(trial) for trial in trials}
    for seed in dict.fromkeys(trial.seed for trial in trials):
        found[UNTRAINED].add(seed, readings_of(measured.get(untrained(seed), [])))
        if untrained(seed) in errors:
            found[UNTRAINED].errors[seed] = errors[untrained(seed)]
    for trial in trials:
        line = found[trial.row]
        if trial.name in errors:
            line.errors[trial.seed] = errors[trial.name]
        elif trial.name in measured:
            run = runs[trial.folder.resolve()]
            line.add(trial.seed, readings_of(measured[trial.name]))
            line.add(trial.seed, {name: run.last(key) for key, name in AT_THE_END.items()})
            line.curves[trial.seed] = _along(run)
    return list(found.values())


def _along(run: PretrainingRun) -> dict[str, list[float | None]]:
    """The values of ALONG by name, one for each k-NN accuracy; None where a line lacks one."""
    lines = [line for line in run.lines if "knn_top1" in line]
    values = {name: [line.get(key) for line in lines] for key, name in ALONG.items()}
    return {name: [value if finite(value) else None for value in of] for name, of in values.items() if any(of)}


def _line(trial: Trial) -> TableRow:
    method = trial.cfg.method
    entry = methods.find(method.name)
    targets = entry.branches(method.positive_target, method.negative_target)
    name = f"{method.library}'s {method.name}" if method.library else method.name
    return TableRow(trial.row, entry.letter, name, targets, published=expected_top1(trial.path))


def sentence(trials: Sequence[Trial], images: str) -> str:
    """What all rows have in common, in words."""
    cfg = trials[0].cfg
    projector = _by_row(trials, lambda one: _layers(one.model.projector_depth, one.model.projector_width))
    rate = _by_row(trials, lambda one: f"{one.optim.base_lr:g}")
    baseline = ""
    if any(trial.cfg.model.zero_init_residual for trial in trials):
        baseline = (
            " The untrained network's residual branches start at zero (model.zero_init_residual=true): as a baseline "
            "it is weaker than one whose branches are live."
        )
    return (
        f"{cfg.model.arch}, views of {cfg.views.size} px, projector of {projector}, {cfg.optim.epochs} epochs in "
        f"batches of {cfg.optim.batch_size}, base lr {rate}. Trained on {images}. Accuracies are in percent.{baseline}"
    )


def _layers(depth: int, width: int) -> str:
    return f"{depth} layer{'s' * (depth != 1)} of {width}"


def how_to_read(lines: Sequence[TableRow]) -> str:
    """What a cell of the table is, in words."""
    seeds = ", ".join(map(str, sorted(set().union(*(line.seeds for line in lines)))))
    return f"Seeds {seeds}: mean ± sample standard deviation (number of seeds)."


def _by_row(trials: Sequence[Trial], told: Callable[[Config], str]) -> str:
    """ "0.5 (i_vicreg: 0.02)": what most rows have, then the rows that have something else."""
    rows: dict[str, dict[str, None]] = {}
    for trial in trials:
        rows.setdefault(told(trial.cfg), {})[trial.row] = None
    most, *others = sorted(rows, key=lambda words: -len(rows[words]))
    named = "; ".join(f"{', '.join(rows[words])}: {words}" for words in others)
    return f"{most} ({named})" if named else most


def readings_of(files: Sequence[Path]) -> dict[str, float]:
    """Every metric of result files, by task and metric."""
    found = [results.load(path) for path in files]
    return {f"{result.task} {name}": value for result in found for name, value in result.metrics.items()}


def as_markdown(lines: Sequence[TableRow], setting: str) -> str:
    """The table with the setting that all its rows share in a sentence above it."""
    names = _names(lines)
    header = ["row", "configuration", "method", "target of positive / negative", *names, PUBLISHED]
    failed = any(line.errors for line in lines)
    header += ["not finished"] * failed
    table = [header]
    for line in lines:
        cells = [line.letter, line.row, line.method, " / ".join(line.targets or ())]
        cells += [
            _spread(list(line.readings.get(name, {}).values()), 3 if name.startswith("mean cosine") else 1)
            for name in names
        ]
        cells.append("" if line.published is None else f"{line.published:.1f}")
        if failed:
            cells.append("; ".join(f"seed {seed}: {error}" for seed, error in line.errors.items()))
        table.append([_in_a_cell(cell) for cell in cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[len(header) - failed :] = [3] * failed  # sentences are long
    table.insert(1, ["-" * width for width in widths])
    text = (" | ".join(map(str.ljust, cells, widths)) for cells in table)
    return f"{setting} {how_to_read(lines)}\n\n" + "\n".join(f"| {cells} |" for cells in text) + "\n"


def _in_a_cell(text: str) -> str:
    """A text that stays in its cell: names of rows and sentences of errors may hold anything."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _names(lines: Sequence[TableRow]) -> list[str]:
    """All readings, the downstream ones first."""
    found = dict.fromkeys(name for line in lines for name in line.readings)
    last = list(AT_THE_END.values())
    return [name for name in found if name not in last] + [name for name in last if name in found]


def _spread(values: list[float], digits: int) -> str:
    """Mean ± sample standard deviation over n seeds; a single value has no spread."""
    if not values:
        return ""
    summary = Summary(tuple(values))
    spread = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread} ({len(values)})"


def as_json(lines: Sequence[TableRow], setting: str) -> dict[str, Any]:
    """The same as plain values, unrounded."""

    def summary(by_seed: dict[int, float]) -> dict[str, Any]:
        found = Summary(values := tuple(by_seed.values()))
        told = {"mean": found.mean, "std": found.std, "n": len(values)}
        return told | {"values": list(values), "seeds": list(by_seed)}

    return {
        "setting": setting,
        "published": PUBLISHED,
        "rows": [
            vars(line) | {"readings": {name: summary(values) for name, values in line.readings.items()}}
            for line in lines
        ],
    }


def write(out: Path, lines: Sequence[TableRow], setting: str) -> str:
    """Write OUT/table.md and OUT/table.json; the Markdown."""
    text = as_markdown(lines, setting)
    write_json(out / TABLE, as_json(lines, setting))
    write_text(out / "table.md", text)
    return text
