"""What a sweep is: SWEEP.yaml and the command line, read and checked before anything starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import fill, nearest, option, options
from pretrain.runtime.options.text import read_yaml
from tools.run_folders.overview import ALONG
from tools.trials.rows import PLACES, CommonSetting, check_free, find_rows, flat, rows_in
from tools.trials.sweep.ranges import Range, read_range
from tools.trials.sweep.sampling import GRID, Sampling
from tools.trials.trial import Trial, make_trial, recipe

LOCKS = ("symlink", "open")  # of Optuna's journal


@dataclass
class Plan(Sampling):
    """The plain options of SWEEP.yaml; `search` and `rows` stand beside them."""

    config: str = option("", "a row's YAML or a folder of rows, from the folder of this file", path=True)
    metric: str = option("knn", "what is to be high, as it is measured along the run", choices=tuple(ALONG))
    trials: int = option(20, "of each row, those that are pruned or fail too; a grid has its own number", at_least=1)
    lock: str = option("symlink", "of the storage: symlink for any NFS, open for NFSv3 and later", choices=LOCKS)

    @property
    def gridded(self) -> bool:
        """Whether every combination is tried."""
        return self.sampler.name == GRID


@dataclass(frozen=True)
class Base:
    """What all trials of a sweep share: what stands over the rows, and where images and run folders are."""

    setting: CommonSetting
    given: tuple[str, ...]
    data: Path
    out: Path


@dataclass(frozen=True)
class Search:
    """The search of one row. plain: the row's trial without any searched value; space: by the option's name."""

    row: str
    plan: Plan
    base: Base
    plain: Trial
    space: Mapping[str, Range]

    def trial(self, name: str, values: Mapping[str, Any]) -> Trial:
        """The trial of that name, whose run folder lies in --out, with the searched values."""
        base = self.base
        own = {**_needed(self.plan), **values}
        return make_trial(self.plain.path, base.setting, base.given, base.data, base.out / name, own)

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, the last option fastest."""
        values = itertools.product(*(searched.grid() for searched in self.space.values()))
        return [dict(zip(self.space, one, strict=True)) for one in values]

    @property
    def trials(self) -> int:
        """How many there shall be."""
        return len(self.grid()) if self.plan.gridded else self.plan.trials

    def identity(self) -> dict[str, Any]:
        """What must not change while the sweep goes on, by dotted name."""
        plan = {key: value for key, value in asdict(self.plan).items() if key not in ("config", "trials", "lock")}
        run = self.plain.cfg.run
        measured = {"run.measure_every_epochs": run.measure_every_epochs, "run.knn_images": run.knn_images}
        fixed = {key: value for key, value in (recipe(self.plain.cfg) | measured).items() if key not in self.space}
        return flat(plan) | fixed | {f"search.{name}": searched.plain() for name, searched in self.space.items()}


@dataclass(frozen=True)
class Definition:
    """SWEEP.yaml as it is written. ranges: of all rows; rows: the chosen ones by name, each with ranges of its own."""

    path: Path
    plan: Plan
    ranges: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    paths: dict[str, Path] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Of the rows."""
        return next(iter(self.paths.values())).parent


def read_definition(path: Path, trials: int | None, chosen: str | None) -> Definition:
    """Read SWEEP.yaml.

    Args: path: of the file. trials: in place of its own number. chosen: names of rows, "a,b".

    Raises:
        UserError: an unknown key, sampler, pruner, metric or row (with the nearest name), or nothing to search.
    """
    tree, where = dict(read_yaml(path, "--config")), f"--config {path}"
    ranges, rows = _mapping(tree.pop("search", {}), f"{where}: search"), tree.pop("rows", {})
    for key in ("sampler", "pruner"):  # a name alone will do
        if isinstance(tree.get(key), str):
            tree[key] = {"name": tree[key]}
    if trials is not None:
        tree["trials"] = trials
    plan = fill(Plan(), tree, where)
    if not plan.config:
        raise UserError(f"{where} lacks config: name a row's YAML or a folder of rows, such as ../pretrain/table2.")
    paths = _paths(Path(path.parent, plan.config), where)
    listed = {str(name): {} for name in rows} if isinstance(rows, list) else _mapping(rows, f"{where}: rows")
    own = {str(name): _mapping(values, f"{where}: rows: {name}") for name, values in listed.items()}
    for name in own:
        if name not in paths:
            raise UserError(
                f"{where}: there is no row '{name}' in {plan.config}; did you mean '{nearest(name, list(paths))}'?"
            )
    own = own or {name: {} for name in paths}
    if chosen is not None:
        if wrong := [name for name in chosen.split(",") if name not in own]:
            raise UserError(f"--rows: {path} has no row '{wrong[0]}'; it has {', '.join(own)}.")
        own = {name: values for name, values in own.items() if name in chosen.split(",")}
    for name, values in own.items():
        if not ranges and not values:
            raise UserError(f"{where}: search is empty, so there is nothing to search for {name}: name an option.")
    return Definition(path, plan, ranges, own, {name: paths[name] for name in own})


def _mapping(written: Any, where: str) -> dict[str, Any]:
    if isinstance(written, dict):
        return {str(key): value for key, value in written.items()}
    if written in ("", "null", "~", None):
        return {}
    raise UserError(f"{where} has to be a mapping of names.")


def _paths(named: Path, where: str) -> dict[str, Path]:
    """The rows of a folder, or a single file's."""
    if named.is_file():
        return {named.stem: named}
    if not named.is_dir() or not rows_in(named):
        raise UserError(f"{where}: config {named} is neither a YAML file nor a folder of some: mend its path.")
    return {path.stem: path for path in find_rows(named, None)}


def make_searches(read: Definition, base: Base) -> list[Search]:
    """The search of every row, with both ends of every range tried on the row's options.

    Raises:
        UserError: an unknown option (with the nearest name), one that the sweep sets itself or that the command line
            gives, an impossible range, or one that an end of a range does not fit.
    """
    check_free([one.partition("=")[0] for one in base.given], "overrides", PLACES)
    return [_search(read, row, base) for row in read.rows]


def _search(read: Definition, row: str, base: Base) -> Search:
    path, where = read.paths[row], f"--config {read.path}: search: "
    written = read.ranges | read.rows[row]
    check_free(written, where.rstrip(": "), PLACES)
    plain = make_trial(path, base.setting, base.given, base.data, base.out / row, _needed(read.plan))
    known = {one.name: one for one in options(plain.cfg)}
    space: dict[str, Range] = {}
    for name, values in written.items():
        if name not in known:
            raise UserError(
                f"{where}there is no option '{name}' in {row}; did you mean '{nearest(name, list(known))}'?"
            )
        if any(one.partition("=")[0] == name for one in base.given):
            raise UserError(f"{where}{name} is searched and given on the command line: leave one of them out.")
        space[name] = read_range(values, known[name], f"{where}{name} ({row})", read.plan.gridded)
    search = Search(row, read.plan, base, plain, space)
    for name, searched in space.items():
        for value in searched.ends():
            _try(search, name, value, where)
    return search


def _try(search: Search, name: str, value: Any, where: str) -> None:
    try:
        search.trial(search.row, {name: value})
    except UserError as error:
        raise UserError(f"{where}{name} cannot be {value} ({error})") from error


def _needed(plan: Plan) -> dict[str, Any]:
    """What the metric needs of a run."""
    return {"run.linear_probe": True} if plan.metric == "linear" else {}


def names_of(searches: Sequence[Search]) -> list[str]:
    """The searched options of all rows, each once."""
    return list(dict.fromkeys(name for search in searches for name in search.space))
