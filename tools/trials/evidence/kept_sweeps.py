"""Sweeps of tools/sweep.py over one number, as they are kept: what a row reaches by multiples of its own value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key, write_json
from transfer.report.collect.sweeps import COMPLETE, FAILED, FILE, Sweep, read_sweep
from transfer.report.render.charts import Chart, Line
from transfer.report.render.sweeps import TITLES, value_text

FOLDER = "sweeps"  # below the kept tables
NEAR = 1.0  # points below the best that still count as its flat top


@dataclass(frozen=True)
class RowSweep:
    """What one row reached. own: its own value of the option; reached: accuracy in percent by value, low to high."""

    row: str
    own: float
    reached: Mapping[float, float]

    @property
    def best(self) -> float:
        """The value with the highest accuracy."""
        return max(self.reached, key=self.reached.__getitem__)

    @property
    def flat(self) -> tuple[float, float]:
        """The widest range around the best in which every value is within NEAR points of it."""
        values, top = list(self.reached), self.reached[self.best]
        low = high = values.index(self.best)
        while low > 0 and self.reached[values[low - 1]] >= top - NEAR:
            low -= 1
        while high + 1 < len(values) and self.reached[values[high + 1]] >= top - NEAR:
            high += 1
        return values[low], values[high]


@dataclass(frozen=True)
class KeptSweep:
    """A sweep. name: of its file. option: the one that was searched. failed: trials that failed, a sentence each.
    missing: trials that have not ended in any way, or were pruned.
    """

    name: str
    setting: str
    metric: str
    option: str
    rows: tuple[RowSweep, ...]
    failed: tuple[str, ...]
    missing: int

    @property
    def values(self) -> list[float]:
        """Every value that some row was tried with, low to high."""
        return sorted({value for row in self.rows for value in row.reached})

    def chart(self) -> Chart:
        """Accuracy by multiples of the row's own value, a line a row with a ring at its best."""
        lines = tuple(
            Line(
                row.row,
                tuple(value / row.own for value in row.reached),
                tuple(row.reached.values()),
                style,
                list(row.reached).index(row.best),
            )
            for style, row in enumerate(self.rows)
        )
        label = f"{self.option}, as a multiple of the row's own"
        return Chart(f"evidence_{self.name}", f"{self.metric}: {self.name}", "", label, "%", lines, by_ratio=True)


def holds(out: Path) -> bool:
    """Whether OUT is a folder of tools/sweep.py."""
    return (out / FILE).is_file()


def keep(out: Path, folder: Path, name: str) -> Path:
    """Copy OUT/sweep.json to FOLDER/sweeps/NAME.json, once it is seen to be a sweep over one number.

    Raises:
        UserError: it is damaged, or searches several options or none that is a number.
    """
    sweep = read_sweep(out / FILE)
    as_kept(sweep, name)
    return write_json(folder / FOLDER / f"{name}.json", sweep.plain())


def kept_sweeps(folder: Path) -> list[KeptSweep]:
    """Every kept sweep, by name.

    Raises:
        UserError: one is damaged.
    """
    found = sorted((folder / FOLDER).glob("*.json"), key=lambda path: natural_key(path.stem))
    return [as_kept(read_sweep(path), path.stem) for path in found]


def as_kept(sweep: Sweep, name: str) -> KeptSweep:
    """A sweep over one number.

    Raises:
        UserError: it is none, or nothing of it has ended.
    """
    searched = sweep.options()
    if len(searched) != 1 or any(not isinstance(row.given[searched[0]], (int, float)) for row in sweep.rows):
        raise UserError(
            f"the sweep {name} searches {', '.join(searched)}: only one over a single number that every row has can be "
            "kept."
        )
    [option] = searched
    rows = []
    for row in sweep.rows:
        ended = [trial for trial in sweep.of_row(row.row) if trial.state == COMPLETE and trial.value is not None]
        reached = {float(trial.params[option]): float(trial.value or 0) for trial in ended}
        if reached:
            rows.append(RowSweep(row.row, float(row.given[option]), dict(sorted(reached.items()))))
    if not rows:
        raise UserError(f"nothing of the sweep {name} has ended: run tools/sweep.py again.")
    failed = tuple(
        f"`{trial.row}` at {value_text(trial.params[option])}: {trial.why}"
        for trial in sweep.trials
        if trial.state == FAILED
    )
    missing = sum(row.trials for row in sweep.rows) - sum(len(row.reached) for row in rows) - len(failed)
    return KeptSweep(name, sweep.setting, TITLES[sweep.metric], option, tuple(rows), failed, missing)
