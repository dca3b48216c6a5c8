"""Tables as they are kept: what was measured on each row, by seed. Those of tools/compare.py are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key, read_json, write_json

METRICS = (  # with the words of their columns: of a comparison, of trials of a detector
    {"linear top1": "linear", "knn top1 k=20 T=0.07": "k-NN (k 20)"},
    {"bbox_AP": "AP", "bbox_AP50": "AP50", "bbox_AP75": "AP75"},
)
SIGNS = {"effective rank": 1, "mean cosine of negative pairs": 2}  # of a collapse, with their digits


@dataclass(frozen=True)
class KeptRow:
    """What was measured on one row.

    readings: by name, then by seed. curves: by seed, then by name, one value for each k-NN accuracy of the run.
    published: top-1 of the paper, in percent. errors: by seed.
    """

    name: str
    readings: dict[str, dict[int, float]]
    curves: dict[int, dict[str, list[float | None]]]
    published: float | None
    errors: dict[int, str]


@dataclass(frozen=True)
class KeptTable:
    """A table. name: of its file. setting: what all rows have in common, in words."""

    name: str
    setting: str
    rows: dict[str, KeptRow]

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
        rows = [_row(line) for line in told["rows"]]
        return KeptTable(path.stem, str(told["setting"]), {row.name: row for row in rows})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no table.json of tools/compare.py ({error!r}): run that tool again.") from error


def _row(line: dict[str, Any]) -> KeptRow:
    readings = {
        name: dict(zip(of["seeds"], map(float, of["values"]), strict=True)) for name, of in line["readings"].items()
    }
    curves, errors = ({int(seed): of for seed, of in line[key].items()} for key in ("curves", "errors"))
    return KeptRow(line["row"], readings, curves, line["published"], errors)


def keep(comparison: Path, folder: Path, name: str) -> Path:
    """Copy COMPARISON/table.json to FOLDER/NAME.json, once it is seen to be one.

    Raises:
        UserError: it is missing, or is none.
    """
    path = comparison / "table.json"
    read_kept(path)
    return write_json(folder / f"{name}.json", read_json(path, "a table of tools/compare.py"))


def all_kept(folder: Path) -> Sequence[KeptTable]:
    """Every kept table of a folder, by name.

    Raises:
        UserError: there is none, or one is damaged.
    """
    found = [read_kept(path) for path in sorted(folder.glob("*.json"), key=lambda path: natural_key(path.stem))]
    if not found:
        raise UserError(f"{folder} holds no kept table: give one with --keep NAME=DIR, a folder of tools/compare.py.")
    return found
