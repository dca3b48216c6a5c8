"""Tables as they are kept: what was measured on each row, by seed. Those of tools/compare.py are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key, read_json, write_json
from tools.trials.comparison.table import TABLE, TableRow, as_json, how_to_read

T = TypeVar("T")
METRICS = (  # with the words of their columns: of a comparison, of trials of a detector
    {"linear top1": "linear", "knn top1 k=20 T=0.07": "k-NN (k 20)"},
    {"bbox_AP": "AP", "bbox_AP50": "AP50", "bbox_AP75": "AP75"},
)
SIGNS = {"effective rank": 1, "mean cosine of negative pairs": 2}  # of a collapse, with their digits


@dataclass(frozen=True)
class KeptTable:
    """A table. name: of its file. setting: what all rows have in common, in words. rows: by name."""

    name: str
    setting: str
    rows: dict[str, TableRow]

    @property
    def readings(self) -> set[str]:
        """Names of what was measured on some row."""
        return {name for row in self.rows.values() for name in row.readings}

    @property
    def metrics(self) -> Mapping[str, str]:
        """Names of the accuracies that its rows are judged by, with the words of their columns."""
        return next((metrics for metrics in METRICS if self.readings & set(metrics)), METRICS[0])

    @property
    def signs(self) -> list[str]:
        """Names of the signs of a collapse that were measured."""
        return [name for name in SIGNS if name in self.readings]

    @property
    def how_to_read(self) -> str:
        """What a cell is, in words."""
        return how_to_read(list(self.rows.values()))

    @property
    def published(self) -> bool:
        """Whether the paper has a number for one of its rows."""
        return any(row.published is not None for row in self.rows.values())


def read_kept(path: Path) -> KeptTable:
    """A kept table.

    Raises:
        UserError: the file is none of tools/compare.py's.
    """
    told = read_json(path, "a table of tools/compare.py")
    try:
        rows = [TableRow.of_plain(line) for line in told["rows"]]
        return KeptTable(path.stem, str(told["setting"]), {line.row: line for line in rows})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no {TABLE} of tools/compare.py ({error!r}): run that tool again.") from error


def keep(comparison: Path, folder: Path, name: str) -> Path:
    """Copy COMPARISON/table.json to FOLDER/NAME.json, once it is seen to be one.

    Raises:
        UserError: it is missing, or is none.
    """
    path = comparison / TABLE
    read_kept(path)
    return write_json(folder / f"{name}.json", read_json(path, "a table of tools/compare.py"))


def add(comparison: Path, folder: Path, name: str) -> Path:
    """Put the seeds of COMPARISON/table.json beside those of FOLDER/NAME.json.

    Raises:
        UserError: one is missing or none, they have two settings, or a seed of a row is in both.
    """
    path = folder / f"{name}.json"
    table, more = read_kept(path), read_kept(comparison / TABLE)
    if more.setting != table.setting:
        raise UserError(
            f"{comparison / TABLE} has the setting '{more.setting}', {path} '{table.setting}': numbers of two settings "
            "share no table; keep it under another name."
        )
    for label, row in more.rows.items():
        kept = table.rows.get(label)
        if kept and (both := sorted(kept.seeds & row.seeds)):
            raise UserError(
                f"{path} has seed {both[0]} of the row {label} already: give a comparison of other --seeds."
            )
        table.rows[label] = _joined(kept, row) if kept else row
    return write_json(path, as_json(list(table.rows.values()), table.setting))


def _joined(kept: TableRow, row: TableRow) -> TableRow:
    """A row with the seeds of both, from low to high."""
    names = dict.fromkeys([*kept.readings, *row.readings])
    return replace(
        kept,
        readings={name: _by_seed(kept.readings.get(name, {}), row.readings.get(name, {})) for name in names},
        curves=_by_seed(kept.curves, row.curves),
        errors=_by_seed(kept.errors, row.errors),
    )


def _by_seed(some: dict[int, T], others: dict[int, T]) -> dict[int, T]:
    return dict(sorted((some | others).items()))


def all_kept(folder: Path) -> Sequence[KeptTable]:
    """Every kept table of a folder, by name.

    Raises:
        UserError: there is none, or one is damaged.
    """
    found = [read_kept(path) for path in sorted(folder.glob("*.json"), key=lambda path: natural_key(path.stem))]
    if not found:
        raise UserError(f"{folder} holds no kept table: give one with --keep NAME=DIR, a folder of tools/compare.py.")
    return found
