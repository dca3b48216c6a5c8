"""A trial is a run folder: one run of a row of a table, with what is put over the row's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import config
from pretrain.data.sources import part_of
from pretrain.engine.learner import fill_balance
from pretrain.engine.validate import ready
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch
from pretrain.runtime.options.text import read_yaml
from tools.trials.rows import CommonSetting, flat, spelled


@dataclass(frozen=True)
class Trial:
    """One run of the row at `path`.

    name: of its folder, its job and its logs. overrides: what is put over the row's file; cfg: what that resolves to.
    """

    row: str
    name: str
    path: Path
    overrides: tuple[str, ...]
    cfg: config.Config

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.cfg.run.seed

    @property
    def folder(self) -> Path:
        """Of the run."""
        return Path(self.cfg.run_dir)

    @property
    def trunk(self) -> Path:
        """Exported whenever a checkpoint is written."""
        return self.folder / "export" / "trunk.pth"

    @property
    def initial(self) -> Path:
        """The same network at random: before its first step, or without the weights that it has started from."""
        return self.trunk.with_name("random.pth" if self.cfg.model.init else "initial.pth")

    def finished(self) -> bool:
        """Whether all its steps are done."""
        return self.trunk.is_file() and load_torch(self.trunk)["meta"]["epoch"] >= self.cfg.optim.epochs

    def arguments(self) -> list[str]:
        """For tools/pretrain.py."""
        return ["--config", str(self.path), *self.overrides]


def make_trial(
    path: Path, setting: CommonSetting, given: Sequence[str], data: Path, folder: Path, own: Mapping[str, Any]
) -> Trial:
    """One trial, checked but for what only the machine can tell that will run it.

    What wins: `own` over `given`, these over the setting's own values for a row, these over the row's file, that over
    the setting's common values.

    Args:
        path: the configuration of the row.
        setting: of --with.
        given: overrides of the command line.
        data: holds train/ and val/.
        folder: of the run.
        own: of this trial alone, by "section.key".

    Raises:
        UserError: an option that is wrong, which names the row.
    """
    of_row = flat(read_yaml(path))
    common = {key: value for key, value in setting.common.items() if key not in of_row}
    place = {"run_dir": folder, "data.root": part_of(data, "train"), "data.val": part_of(data, "val")}
    overrides = [
        *spelled(common),
        *spelled(setting.rows.get(path.stem, {})),
        *given,
        *spelled(own),
        *(f"{key}={value}" for key, value in place.items()),
    ]
    try:  # the threads and the device are for the machine that will run it
        cfg = config.load(config.Config, path, overrides)
        ready(dataclasses.replace(cfg, run=dataclasses.replace(cfg.run, device="cpu", threads=0)))
    except UserError as error:
        raise UserError(f"row {path.stem}: {error}") from error
    return Trial(path.stem, folder.name, path, tuple(overrides), fill_balance(cfg))


def recipe(cfg: config.Config) -> dict[str, Any]:
    """The options that change what a run computes, by dotted name."""
    every = flat(dataclasses.asdict(cfg))
    kept = {key: value for key, value in every.items() if not key.startswith("run") and key != "data.workers"}
    return kept | {"run.seed": cfg.run.seed, "run.precision": cfg.run.precision}


def check_same(trial: Trial, what: str) -> None:
    """Refuse a run folder that was begun with other options: its numbers are not of this trial.

    Args: trial: whose folder may be there already. what: asks for it, "comparison" or "sweep".

    Raises:
        UserError: it was, or what it says of its options cannot be read.
    """
    file = trial.folder / "config.yaml"
    if not file.is_file():
        return
    old = recipe(config.load(config.Config, file))
    for key, value in recipe(trial.cfg).items():
        if old.get(key) != value:
            raise UserError(
                f"{file.parent} holds a run with {key}={old.get(key)}, but this {what} asks for {value}: choose "
                "another --out."
            )
