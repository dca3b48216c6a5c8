"""What tools/compare.py trains: the rows of a folder of configurations, each under one setting and for every seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import config
from pretrain.data.sources import part_of
from pretrain.engine.learner import fill_balance
from pretrain.engine.validate import ready
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch, natural_key
from pretrain.runtime.options.text import NULLS, read_yaml

OURS = {"run_dir": "--out", "data.root": "--data", "data.val": "--data", "run.seed": "--seeds"}


@dataclass(frozen=True)
class Trial:
    """One row with one seed. overrides: what is put over the row's file at `path`; cfg: what that resolves to."""

    row: str
    seed: int
    path: Path
    overrides: tuple[str, ...]
    cfg: config.Config

    @property
    def name(self) -> str:
        """Of its folder, its job and its logs."""
        return f"{self.row}-{self.seed}"

    @property
    def trunk(self) -> Path:
        """Exported whenever a checkpoint is written."""
        return Path(self.cfg.run_dir, "export", "trunk.pth")

    @property
    def initial(self) -> Path:
        """The same network at random: before its first step, or without the weights that it has started from."""
        return self.trunk.with_name("random.pth" if self.cfg.model.init else "initial.pth")

    def finished(self) -> bool:
        """Whether all its steps are done."""
        return self.trunk.is_file() and load_torch(self.trunk)["meta"]["epoch"] >= self.cfg.optim.epochs


@dataclass(frozen=True)
class CommonSetting:
    """A --with file: values by "section.key" for every row, and more for single ones, which win over the row's file."""

    common: dict[str, Any]
    rows: dict[str, dict[str, Any]]


def _rows_in(folder: Path) -> list[Path]:
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
    found = {path.stem: path for path in _rows_in(folder)}
    if not found:
        raise UserError(f"--config {folder} holds no YAML: give a folder of rows, such as configs/pretrain/table2.")
    if chosen is None:
        return list(found.values())
    asked = chosen.split(",")
    for name in asked:
        if name not in found:
            raise UserError(f"--rows: {folder} has no row '{name}'; it has {', '.join(found)}.")
    return [path for name, path in found.items() if name in asked]


def read_setting(path: Path | None, folder: Path) -> CommonSetting:
    """Read a --with file; its optional `rows` may name any row of `folder` and of the folders next to it.

    Raises:
        UserError: no file, no YAML, an unknown option, one that compare sets itself, or a row that no table has.
    """
    if path is None:
        return CommonSetting({}, {})
    tree = read_yaml(path, "--with")
    if not isinstance(rows := _written(tree.pop("rows", "")), dict):
        raise UserError(
            f"--with {path} has to hold sections such as 'optim', and 'rows' a mapping of rows to sections."
        )
    known = {row.stem: row for table in folder.resolve().parent.iterdir() for row in _rows_in(table)}
    for name in rows:
        if name not in known:
            raise UserError(f"--with {path}: no table has a row '{name}' for its 'rows'.")
    setting = CommonSetting(_flat(tree), {name: _flat(_written(values)) for name, values in rows.items()})
    first = next(iter(_rows_in(folder)), None)  # the common values are tried on one row
    for row, values in ((first, setting.common), *((known[name], own) for name, own in setting.rows.items())):
        _check_free(values, f"--with {path}")
        try:
            config.load(config.Config, row, _spelled(values))
        except UserError as error:
            raise UserError(f"--with {path}: {error}") from error
    return setting


def _written(values: Any) -> Any:
    """A section of a YAML file; empty where nothing or null stands."""
    return {} if values in NULLS else values


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted name."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    return {name: value for key, below in tree.items() for name, value in _flat(below, f"{prefix}{key}.").items()}


def _spelled(values: dict[str, Any]) -> list[str]:
    """As `section.key=value` of a command line."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def _check_free(keys: Sequence[str] | dict[str, Any], where: str) -> None:
    for key in keys:
        if key in OURS:
            raise UserError(f"{where}: {key} differs from run to run and is set from {OURS[key]}: leave it out.")


def make_trials(
    rows: Sequence[Path], setting: CommonSetting, given: Sequence[str], data: Path, out: Path, seeds: Sequence[int]
) -> list[Trial]:
    """Every row with every seed, seed by seed.

    What wins: `given` over the setting's own values for a row, these over the row's file, that over the setting's
    common values.

    Args:
        rows: the configurations of the rows.
        setting: of --with.
        given: overrides of the command line.
        data: holds train/ and val/.
        out: gets a run folder for each trial.
        seeds: of every row.

    Raises:
        UserError: an option that is wrong or that two rows differ in no longer, or a run folder of another setting.
    """
    _check_free([override.partition("=")[0] for override in given], "overrides")
    data = data.resolve()
    made = [_trial(path, setting, given, data, out, seed) for seed in seeds for path in rows]
    alike: dict[str, str] = {}
    for trial in made[: len(rows)]:
        same = alike.setdefault(json.dumps(_recipe(dataclasses.asdict(trial.cfg))), trial.row)
        if same != trial.row:
            raise UserError(f"{same} and {trial.row} differ in nothing with these options: leave out what rows set.")
    for trial in made:
        _check_same(trial)
    return made


def _trial(path: Path, setting: CommonSetting, given: Sequence[str], data: Path, out: Path, seed: int) -> Trial:
    own = _flat(read_yaml(path))
    common = {key: value for key, value in setting.common.items() if key not in own}
    run_dir = out / f"{path.stem}-{seed}"
    place = {
        "run_dir": run_dir,
        "data.root": part_of(data, "train"),
        "data.val": part_of(data, "val"),
        "run.seed": seed,
    }
    overrides = [
        *_spelled(common),
        *_spelled(setting.rows.get(path.stem, {})),
        *given,
        *(f"{key}={value}" for key, value in place.items()),
    ]
    try:  # the threads and the device are for the machine that will run it
        cfg = config.load(config.Config, path, overrides)
        ready(dataclasses.replace(cfg, run=dataclasses.replace(cfg.run, device="cpu", threads=0)))
    except UserError as error:
        raise UserError(f"row {path.stem}: {error}") from error
    return Trial(path.stem, seed, path, tuple(overrides), fill_balance(cfg))


def _recipe(tree: dict[str, Any]) -> dict[str, Any]:
    """The options that change what a run computes, by dotted name."""
    kept = {key: value for key, value in _flat(tree).items() if not key.startswith("run") and key != "data.workers"}
    return kept | {"run.seed": tree["run"]["seed"], "run.precision": tree["run"]["precision"]}


def _check_same(trial: Trial) -> None:
    """Refuse a run folder that was begun with other options: its numbers are no part of this comparison."""
    file = Path(trial.cfg.run_dir, "config.yaml")
    if not file.is_file():
        return
    old = _recipe(dataclasses.asdict(config.load(config.Config, file)))
    for key, value in _recipe(dataclasses.asdict(trial.cfg)).items():
        if old.get(key) != value:
            raise UserError(
                f"{file.parent} holds a run with {key}={old.get(key)}, but this comparison asks for {value}: choose "
                "another --out."
            )
