"""The rows of a table: a folder of configurations, and a setting that stands over all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import config
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key
from pretrain.runtime.options.text import NULLS, read_yaml

PLACES = {"run_dir": "--out", "data.root": "--data", "data.val": "--data"}  # of a trial, and what they are set from


@dataclass(frozen=True)
class CommonSetting:
    """A --with file: values by "section.key" for every row, and more for single ones, which win over the row's file."""

    common: dict[str, Any]
    rows: dict[str, dict[str, Any]]


def rows_in(folder: Path) -> list[Path]:
    """Its configurations in the order of their names; hidden ones are other programs' (macOS writes ._NAME)."""
    found = [path for path in folder.glob("*.yaml") if path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural_key(path.stem))


def find_rows(folder: Path, chosen: str | None) -> list[Path]:
    """The configurations of `folder` in the order of their names, numbers by size; or those of `chosen`, "a,b".

    Raises:
        UserError: no such folder, nothing in it, or a row that is not there.
    """
    if not folder.is_dir():
        raise UserError(f"--config {folder} is not a folder: give one of rows, such as configs/pretrain/table2.")
    found = {path.stem: path for path in rows_in(folder)}
    if not found:
        raise UserError(f"--config {folder} holds no YAML: give a folder of rows, such as configs/pretrain/table2.")
    if chosen is None:
        return list(found.values())
    asked = chosen.split(",")
    for name in asked:
        if name not in found:
            raise UserError(f"--rows: {folder} has no row '{name}'; it has {', '.join(found)}.")
    return [path for name, path in found.items() if name in asked]


def read_setting(path: Path | None, folder: Path, ours: Mapping[str, str]) -> CommonSetting:
    """Read a --with file; its optional `rows` may name any row of `folder` and of the folders next to it.

    Args: path: of the file. folder: of the rows. ours: options that the tool sets itself, and what from.

    Raises:
        UserError: no file, no YAML, an unknown option, one of `ours`, or a row that no table has.
    """
    if path is None:
        return CommonSetting({}, {})
    tree = read_yaml(path, "--with")
    if not isinstance(rows := _written(tree.pop("rows", "")), dict):
        raise UserError(
            f"--with {path} has to hold sections such as 'optim', and 'rows' a mapping of rows to sections."
        )
    known = {row.stem: row for table in folder.resolve().parent.iterdir() for row in rows_in(table)}
    for name in rows:
        if name not in known:
            raise UserError(f"--with {path}: no table has a row '{name}' for its 'rows'.")
    setting = CommonSetting(flat(tree), {name: flat(_written(values)) for name, values in rows.items()})
    first = next(iter(rows_in(folder)), None)  # the common values are tried on one row
    for row, values in ((first, setting.common), *((known[name], own) for name, own in setting.rows.items())):
        check_free(values, f"--with {path}", ours)
        try:
            config.load(config.Config, row, spelled(values))
        except UserError as error:
            raise UserError(f"--with {path}: {error}") from error
    return setting


def _written(values: Any) -> Any:
    """A section of a YAML file; empty where nothing or null stands."""
    return {} if values in NULLS else values


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted name."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key, below in tree.items() for name, value in flat(below, f"{prefix}{key}.").items()}


def spelled(values: Mapping[str, Any]) -> list[str]:
    """As `section.key=value` of a command line."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def check_free(keys: Iterable[str], where: str, ours: Mapping[str, str]) -> None:
    """Refuse options that the tool sets itself. keys: dotted names. ours: what each is set from."""
    for key in keys:
        if key in ours:
            raise UserError(f"{where}: {key} differs from run to run and is set from {ours[key]}: leave it out.")
