"""A data set of Hugging Face on disk, as `save_to_disk` of `datasets` writes it: Arrow files, mapped by pyarrow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.columns import image_column
from pretrain.data.files.local import state_of
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.data.tables import arrow, content_of, is_encoded, layout_of_rows, source_of_rows
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json

STATE, SPLITS = "state.json", "dataset_dict.json"
WHAT = "the state of a data set of Hugging Face"


@dataclass
class MappedStore:
    """N rows of Arrow files, which each process maps for itself. ends (F,): rows up to each file's last."""

    files: tuple[str, ...]
    states: tuple[tuple[int, int] | None, ...]
    column: str
    ends: np.ndarray
    _columns: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_columns": {}}

    def _of(self, place: int) -> tuple[int, int]:
        file = int(np.searchsorted(self.ends, place, side="right"))
        return file, place - (int(self.ends[file - 1]) if file else 0)

    def fingerprint(self, place: int) -> object:
        """Size and time of the file, and the row."""
        return (*(self.states[self._of(place)[0]] or ()), place)

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one row's image. Raises UnreadableImage."""
        file, row = self._of(place)
        if file not in self._columns:
            self._columns[file] = _mapped(self.files[file]).column(self.column)
        return content_of(self._columns[file][row].as_py(), f"row {place} of {self.files[file]}")


def _takes(root: str) -> bool:
    return any(os.path.isfile(os.path.join(root, name)) for name in (STATE, SPLITS))


def _open(asked: Asked) -> ImageSource:
    if (asked.path / SPLITS).is_file():
        splits = read_json(asked.path / SPLITS, WHAT).get("splits", [])
        raise UserError(f"{asked.root} holds the splits {', '.join(map(str, splits))}: give one, as {asked.root}/NAME.")
    state = read_json(asked.path / STATE, WHAT)
    try:
        files = [asked.path / str(one["filename"]) for one in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{asked.path / STATE} is not {WHAT}: save the data set again.") from error
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise UserError(f"{asked.root} keeps a selection beside its rows: save it again after flatten_indices().")
    tables = [_mapped(file) for file in files]
    if not tables:
        raise UserError(f"{asked.root} has no rows: give another.")
    schema = tables[0].schema
    column = image_column(asked, schema.names)
    if not is_encoded(schema.field(column).type):
        raise UserError(
            f"{asked.root}: the column {column} is {schema.field(column).type}, no encoded images: name another with "
            f"{asked.option('image_column')}NAME."
        )
    counts = [table.num_rows for table in tables]
    found = layout_of_rows(
        asked, schema, lambda name: [value for table in tables for value in table[name].to_pylist()], sum(counts)
    )
    states = tuple(state_of(file) for file in files)
    store = MappedStore(tuple(map(str, files)), states, column, np.cumsum(counts))
    return source_of_rows(asked, files, counts, found, store, "saved")


def _mapped(file: str | Path) -> Any:
    """The table of an Arrow file, of which nothing is read before it is asked for."""
    pa = arrow("", str(file))
    try:
        return arrow(".ipc", str(file)).open_stream(pa.memory_map(str(file))).read_all()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({' '.join(str(error).split())[:200]}): copy it again, or save the data set again."
        ) from error


KIND = Kind("saved", "a data set of Hugging Face on disk", _takes, _open, columns=lambda root: True)
