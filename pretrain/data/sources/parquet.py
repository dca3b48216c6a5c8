"""Parquet files with a column of encoded images, or of paths as a list; one file or a pattern. Read by pyarrow.

A row can only be read with all of its row group, so each process keeps the last few groups. In random order this costs
a group an image: write small groups (of 100 rows, say), or pack the set.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pretrain.data.archives.shards import files_of, is_pattern
from pretrain.data.columns import LABELS, chosen, image_column
from pretrain.data.decode import UnreadableImage
from pretrain.data.files import File, State, partly_kept
from pretrain.data.files import opened as opened_files
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.data.sources.lists import open_listed
from pretrain.data.tables import arrow, content_of, is_encoded, layout_of_rows, source_of_rows
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from pretrain.runtime.urls import is_url, split

ENDING = ".parquet"
KEPT = 4  # row groups in memory of a process


@dataclass
class GroupStore:
    """N rows in G row groups of some files. ends (G,): rows up to each group's last; groups: (file, group) of each."""

    files: tuple[File, ...]
    states: tuple[State, ...]
    column: str
    ends: np.ndarray
    groups: np.ndarray
    _kept: OrderedDict[int, Any] = field(default_factory=OrderedDict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}

    def _of(self, place: int) -> tuple[int, int]:
        """The group of a row, counted through, and the row in it."""
        group = int(np.searchsorted(self.ends, place, side="right"))
        return group, place - (int(self.ends[group - 1]) if group else 0)

    def fingerprint(self, place: int) -> object:
        """Size and time of the file, and the row."""
        return (*(self.states[self.groups[self._of(place)[0]][0]] or ()), place)

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one row's image.

        Raises:
            UnreadableImage: the row is empty, or its group cannot be read.
        """
        group, row = self._of(place)
        file = self.files[self.groups[group][0]]
        if group not in self._kept:
            self._kept[group] = self._read(file, int(self.groups[group][1]))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return content_of(self._kept[group][row].as_py(), f"row {place} of {file}")

    def _read(self, file: File, group: int) -> Any:
        """The images of a row group; no thread is started, for this process may be a fork."""
        try:
            with file.open() as handle, arrow(".parquet", str(file)).ParquetFile(handle) as opened:
                column = opened.read_row_group(group, columns=[self.column], use_threads=False).column(self.column)
                return column.combine_chunks()
        except UserError:
            raise
        except (OSError, ValueError) as error:
            raise UnreadableImage(f"{printable(str(file))} ({' '.join(str(error).split())[:200]})") from error


def _takes(root: str) -> bool:
    named = split(root)[0].lower().endswith(ENDING)
    return is_pattern(root, ENDING) or named and (is_url(root) or os.path.isfile(root))


def _open(asked: Asked) -> ImageSource:
    names = files_of(asked.root) if is_pattern(asked.root, ENDING) else [asked.root]
    files = opened_files(names, asked.reading.kept)
    parquet = arrow(".parquet", asked.root)
    with contextlib.ExitStack() as stack:
        return _source(asked, files, [_opened(parquet, file, stack) for file in files])


def _source(asked: Asked, files: Sequence[File], opened: Sequence[Any]) -> ImageSource:
    """The source of open files."""
    schema = opened[0].schema_arrow
    for file, one in zip(files, opened, strict=True):
        if one.schema_arrow.names != schema.names:
            raise UserError(f"{file} has other columns than {files[0]}: give files of one table.")
    column = image_column(asked, schema.names)

    def rows(name: str) -> list[Any]:
        return [value for one in opened for value in one.read(columns=[name], use_threads=False)[name].to_pylist()]

    if str(schema.field(column).type) in ("string", "large_string"):
        label = chosen(asked, "label_column", schema.names, LABELS)
        return open_listed(asked, rows(column), label and [str(value) for value in rows(label)])
    if not is_encoded(schema.field(column).type):
        raise UserError(
            f"{asked.root}: the column {column} is {schema.field(column).type}, neither encoded images nor paths: name "
            f"another with {asked.option('image_column')}NAME."
        )
    counts = [one.metadata.num_rows for one in opened]
    groups = [(at, group) for at, one in enumerate(opened) for group in range(one.metadata.num_row_groups)]
    ends = np.cumsum([opened[at].metadata.row_group(group).num_rows for at, group in groups])
    found = layout_of_rows(asked, schema, rows, sum(counts))
    states = tuple(file.state() for file in files)
    store = GroupStore(tuple(files), states, column, ends, np.asarray(groups, np.int64).reshape(-1, 2))
    source = source_of_rows(asked, [file.path for file in files], counts, found, store, "parquet")
    return replace(source, about=source.about + partly_kept(files, asked.reading.kept))


def _opened(parquet: Any, file: File, stack: contextlib.ExitStack) -> Any:
    try:
        return parquet.ParquetFile(stack.enter_context(file.open()))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:200]}): copy it again.") from error


KIND = Kind(
    "parquet",
    "a Parquet file or a pattern of them",
    _takes,
    _open,
    ("{}.parquet", "{}-*.parquet"),
    columns=lambda root: True,
)
