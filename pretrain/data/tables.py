"""Tables of Arrow whose rows are images: which columns, what the classes are called, and the bytes of one cell."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.columns import LABELS, chosen, no_labels
from pretrain.data.compact import Ints, Paths, Strings
from pretrain.data.decode import UnreadableImage, read_file
from pretrain.data.folders.classes import Layout, named, numbered
from pretrain.data.sources.base import Asked, ImageSource, Store
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable


def arrow(part: str, what: str) -> Any:
    """A module of pyarrow, which is an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(f"pyarrow{part}")
    except ImportError as error:
        raise UserError(
            f"{what} is read by pyarrow, which is not installed: pip install pyarrow, or 'unigrad[parquet]'."
        ) from error


def is_encoded(kind: Any) -> bool:
    """Whether a column's type is that of encoded images: bytes, or Hugging Face's {bytes, path}."""
    text = str(kind)
    return text in ("binary", "large_binary") or (text.startswith("struct<") and "bytes: " in text)


def content_of(cell: Any, where: str) -> bytes:
    """The bytes of an image's cell.

    Raises:
        UnreadableImage: it is empty, or its file cannot be read.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes") or (cell.get("path") and read_file(Path(cell["path"])))
    if not cell:
        raise UnreadableImage(f"{printable(where)} (empty)")
    return bytes(cell)


def layout_of_rows(asked: Asked, schema: Any, rows: Any, count: int) -> Layout:
    """Classes by the column of labels: Hugging Face's names where the table has them.

    Args:
        asked: what the user wants.
        schema: of the table.
        rows: takes a column's name and returns its N values.
        count: N.

    Raises:
        UserError: labels are needed and there is no column of them, or it holds something else.
    """
    column = chosen(asked, "label_column", schema.names, LABELS)
    if column is None:
        if asked.labelled:
            raise no_labels(asked)
        return Layout(None, (), 1)
    values = rows(column)
    if all(isinstance(value, str) for value in values):
        return named(values)
    if not all(isinstance(value, int) for value in values):
        raise UserError(
            f"{asked.root}: the column {column} holds no labels: name another with {asked.option('label_column')}NAME."
        )
    classes = _class_names(schema, column)
    if classes and count and min(values) >= 0 and max(values) < len(classes):
        return Layout(Ints(np.asarray(values, np.int32)), classes, 1)
    return numbered(values)


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    """What Hugging Face's description in the schema calls the classes; empty without."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        return tuple(map(str, told)) if len(set(told)) == len(told) else ()
    except (KeyError, TypeError, ValueError):
        return ()


def source_of_rows(
    asked: Asked, files: Sequence[Path], counts: Sequence[int], found: Layout, store: Store, kind: str
) -> ImageSource:
    """The source of a table in several files, whose rows are counted through.

    Args:
        asked: what the user wants.
        files: of the table.
        counts: rows of each.
        found: labels and classes.
        store: of the rows.
        kind: its name.
    """
    own = [path.stem for path in files]
    keys = Strings.of(f"{name}/{row:08d}" for name, count in zip(own, counts, strict=True) for row in range(count))
    total = sum(counts)
    if not total:
        raise UserError(f"{asked.root} has no rows: give another.")
    about = f"{printable(asked.root)}: {found.counts(total)}, {kind}{f', {len(files)} files' * (len(files) > 1)}"
    places = Ints(np.arange(total))
    return ImageSource(
        asked.path, Paths.below(asked.path, keys), found.labels, found.classes, store, places, about, kind
    )
