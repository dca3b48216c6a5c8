"""sweep.json: what tools/sweep.py has searched and found, for the report and for other programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError

FILE = "sweep.json"
COMPLETE, PRUNED, FAILED, OPEN = "complete", "pruned", "failed", "open"  # states of a trial


@dataclass(frozen=True)
class SweepTrial:
    """One run of a sweep. name: of its folder. state: one of the four above. value: of the metric; of a trial that did
    not end on its own, as it was measured last. measurements: how many it had. why: the sentence of one that failed.
    """

    row: str
    name: str
    state: str
    params: dict[str, Any]
    value: float | None = None
    measurements: int = 0
    why: str = ""


@dataclass(frozen=True)
class SweepRow:
    """The search of one row. given: the row's own values of the searched options; trials: how many there shall be.

    ranges: by option, as {"low", "high", "log", "choices" and so on}.
    """

    row: str
    trials: int
    given: dict[str, Any]
    ranges: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Sweep:
    """All of sweep.json. setting: what all trials share, in a sentence; metric: knn or linear, in percent."""

    metric: str
    sampler: str
    pruner: str
    setting: str
    rows: tuple[SweepRow, ...]
    trials: tuple[SweepTrial, ...]
    folder: Path = field(default=Path())

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}

    def options(self) -> list[str]:
        """The searched options of all rows, each once."""
        return list(dict.fromkeys(name for row in self.rows for name in row.ranges))

    def of_row(self, row: str) -> list[SweepTrial]:
        """Its trials, in the order in which they began."""
        return [trial for trial in self.trials if trial.row == row]

    def best(self, row: str) -> SweepTrial | None:
        """The trial of a row that ended on its own with the highest value; None before there is one."""
        ended = [trial for trial in self.of_row(row) if trial.state == COMPLETE and trial.value is not None]
        return max(ended, key=lambda trial: trial.value or 0.0, default=None)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep.json.

    Raises:
        UserError: it is damaged.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(SweepRow(**row) for row in tree.pop("rows"))
        trials = tuple(SweepTrial(**trial) for trial in tree.pop("trials"))
        read = Sweep(**tree, rows=rows, trials=trials, folder=path.parent)
        _check(read)
        return read
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no sweep that tools/sweep.py wrote ({error}): start the sweep again.") from error


def _check(read: Sweep) -> None:
    """The types that a report counts on; a ValueError says which is not as it should be."""
    known = {row.row for row in read.rows}
    for row in read.rows:
        for name, ranged in row.ranges.items():
            if not ranged["choices"] and not float(ranged["low"]) < float(ranged["high"]):
                raise ValueError(f"{name} has no range")
    for trial in read.trials:
        if trial.row not in known or not isinstance(trial.params, dict):
            raise ValueError(f"trial {trial.name} is of no row")
        if trial.value is not None and not isinstance(trial.value, (int, float)):
            raise ValueError(f"trial {trial.name} has the value {trial.value!r}")
