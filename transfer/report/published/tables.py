"""Published numbers, which of our numbers stand below which row of them, and why the others stand in no table.

The published numbers stand in the data files of this folder, and nowhere else: one file a publication's setting. A file
that is added here is another table of the report. Its keys are the fields of `PublishedTable` and `Setting`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pretrain import methods
from pretrain.config import Config
from transfer.protocol import NONE
from transfer.report.collect.files import finite, flat
from transfer.report.collect.names import RANDOM
from transfer.report.collect.trials import Trials
from transfer.results import Result
from transfer.tasks import tasks

FOLDER = Path(__file__).parent
SAME = 0.01  # share by which numbers may differ: schedules are rounded, damaged images and last batches left out
PLAIN = {"mixing.cutmix_alpha": 0.0, "views.local_count": 0}  # what a row without CutMix and multi-crop has
COMPARED = ("views", "mixing", "model", "method", "optim")  # sections of a run's configuration that make its recipe
SIDES = ("method.positive_target", "method.negative_target")
FREE = {"optim.accumulate", "views.photometry", "method.name"}  # how it is computed; the name is compared by itself


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table."""

    name: str
    values: list[float]  # in the order of the table's metrics
    epochs: int | None = None  # of pretraining, None where the publication does not tell
    settings: dict[str, Any] | None = None  # of the run beside the base recipe; None where no run of ours fits
    config: str = ""  # the configuration that is this row, below configs/pretrain and without ".yaml", if there is one
    in_folder: str = ""  # the same run in a folder of rows, where `config` writes every value out and stands elsewhere

    @property
    def configs(self) -> list[str]:
        """Every configuration that is this row, below configs/pretrain and without ".yaml"."""
        return [name for name in (self.config, self.in_folder) if name]


@dataclass(frozen=True)
class Setting:
    """What a result must have been measured under to stand in a table."""

    arch: str
    counts: dict[str, int]  # images by split, and classes
    labels: int = 0  # percent of ImageNet's labels, by SimCLR's list; 0 for another task
    pretraining_images: int = 0  # in the set that was pretrained on
    options: dict[str, list[Any]] = field(default_factory=dict)  # of the evaluation, each with the values that fit
    dataset: str = ""  # this and the following are of a detector's result
    protocol: str = ""
    protocol_ends: str = ""  # what its name ends with
    images_seen: int = 0  # iterations times images of a step
    lr: float = 0.0  # of 16 images


@dataclass(frozen=True)
class PublishedTable:
    """A table of one publication under one setting.

    strict: its rows' recipes are known in full, so that every other option of a run must be the base recipe's; else
    the method, and where the row names its epochs its mixing and its crops, are all that is known.
    """

    name: str  # what sentences call it
    title: str
    anchor: str
    order: int  # where it stands
    metrics: list[str]
    rows: tuple[PublishedRow, ...] = field(repr=False)
    source: str
    paper: bool  # whether it is of the UniGrad paper
    match: str  # how results are set beside it: "accuracy", "detection", or "transfer", whose metrics are data sets
    units: dict[str, str]  # by metric
    setting: Setting
    task: str = ""  # of our results, "" where the protocol tells it
    strict: bool = True
    note: str = ""  # stands below the table


@cache
def published_tables(match: str = "") -> tuple[PublishedTable, ...]:
    """Every published table in the paper's order, or those of one kind of matching."""
    tables = []
    for path in FOLDER.glob("*.yaml"):
        shared = yaml.safe_load(path.read_text(encoding="utf-8"))
        shared["setting"] = Setting(**shared["setting"])
        for table in shared.pop("tables"):
            table["rows"] = tuple(PublishedRow(**row) for row in table["rows"])
            tables.append(PublishedTable(**shared | table))
    tables.sort(key=lambda table: (table.order, table.anchor))
    return tuple(table for table in tables if match in ("", table.match))


def expected_top1(config: Path) -> float | None:
    """The published top-1, in percent, of a configuration below configs/pretrain; None where there is none."""
    names = {"/".join(config.with_suffix("").parts[-2:]), config.stem}
    each = ((table, row) for table in published_tables("accuracy") for row in table.rows if names & set(row.configs))
    return next((row.values[table.metrics.index("top1")] for table, row in each), None)


class Place(NamedTuple):
    """Where a number stands in a table."""

    reason: str  # why it may not stand there, "" where it may
    row: str = ""  # the name of the row above it, "" at the table's end
    agreed: int = 0  # how much was the same before the reason, so that of several rows the nearest is told


def standing_below(table: PublishedTable, ours: Sequence[Trials]) -> dict[str, list[Trials]]:
    """Ours by name of the row that they stand below, "" for the table's end."""
    below: dict[str, list[Trials]] = {}
    for one in ours:
        if related(one, table) and not (place := _place(one, table)).reason:
            below.setdefault(place.row, []).append(one)
    return below


def why_in_no_table(one: Trials) -> str:
    """Why a number stands in no published table; empty where it stands in one."""
    if tasks()[one.first.task].suite:
        return _why_in_no_transfer(one)
    alike = [table for table in published_tables() if related(one, table)]
    fitting = [table for table in alike if _on_its_list(one, table)]
    if fitting:
        return _nearest([_place(one, table) for table in fitting]).reason
    if alike:
        return "not fine-tuned on one of SimCLR's two lists"
    detector = one.first.task in ("detection", "segmentation")
    return "no published table has this protocol and these data" if detector else "the paper has no table of this kind"


def transfer_protocol(result: Result) -> tuple[str, str]:
    """The name of a protocol on many data sets, and its published reference."""
    found = result.settings.get("found") or {}
    return str(found.get("protocol", result.protocol)), str(found.get("reference", NONE))


def stands_beside(one: Trials, table: PublishedTable) -> bool:
    """Whether a number on one of many data sets shares the protocol of a table that has this data set."""
    same = (one.first.task, transfer_protocol(one.first)[0]) == (table.task, table.setting.protocol)
    return same and one.first.dataset in table.metrics


def _why_in_no_transfer(one: Trials) -> str:
    if any(stands_beside(one, table) for table in published_tables("transfer")):
        return ""
    name, reference = transfer_protocol(one.first)
    return f"no published numbers for {one.first.dataset} under {name}" + (
        f" ({reference})" if reference != NONE else ""
    )


def related(one: Trials, table: PublishedTable) -> bool:
    """Whether a table is of the same task; for detectors, of the same protocol and data under whatever schedule."""
    if table.match == "transfer":
        return stands_beside(one, table)
    if table.match == "accuracy":
        return one.first.task == table.task
    return (one.first.settings.get("protocol"), one.first.dataset) == (table.setting.protocol, table.setting.dataset)


def conditions(one: Trials) -> str:
    """Trunk, schedule and settings of a detector in words."""
    first = one.first
    settings = first.protocol.removeprefix(f"{first.settings.get('protocol')}: ")
    return f"{first.arch}, {_images_seen(first):,} images seen of {first.counts.get('train', 0):,}; {settings}"


def _place(one: Trials, table: PublishedTable) -> Place:
    if table.match == "detection":
        same = _same_detector(one.first, table.setting)
        return Place("" if same else f"another trunk, schedule, setting or part of the data: {conditions(one)}")
    if reason := next(_obstacles(one, table), ""):
        return Place(reason)
    return _nearest([_below(one, row, table) for row in table.rows if row.settings is not None])


def _nearest(places: Sequence[Place]) -> Place:
    """The first without a reason, else the one with most agreement."""
    return max(places, key=lambda place: (not place.reason, place.agreed, -len(place.reason)))


def _on_its_list(one: Trials, table: PublishedTable) -> bool:
    """Whether the few labels were those of the table's list, if it has one."""
    return not table.setting.labels or f"SimCLR's {table.setting.labels} % list" in one.first.protocol


def _obstacles(one: Trials, table: PublishedTable) -> Iterator[str]:
    """Why a number may stand below no row of a table of accuracies: of its evaluation, then of its pretraining."""
    first, setting, counts = one.first, table.setting, table.setting.counts
    if not all(_close(first.counts.get(name, 0), there) for name, there in counts.items()):
        held = ", ".join(f"{first.counts.get(name, 0):,} {name}" for name in counts)
        yield f"other data than ImageNet's {counts['train']:,} images of {counts['classes']:,} classes ({held})"
    if first.arch != setting.arch:
        yield f"a {first.arch}, not a {setting.arch}"
    if not _on_its_list(one, table):
        yield f"not fine-tuned on SimCLR's {setting.labels} % list"
    settings = flat(first.settings)
    if other := [name for name, fitting in setting.options.items() if settings.get(name) not in fitting]:
        yield f"another protocol than the paper's ({', '.join(other)} differ)"
    if one.recipe == RANDOM:
        yield "the paper has no row of an untrained network"
    if one.run is None:
        yield "the run folder of its pretraining was not found, so its recipe is unknown"
    seen = first.pretraining.get("images_seen")
    if not finite(seen) or not one.epochs or not _close(seen / one.epochs, setting.pretraining_images):
        yield f"not pretrained on ImageNet's {setting.pretraining_images:,} images"


def _below(one: Trials, row: PublishedRow, table: PublishedTable) -> Place:
    """Whether a number that has no obstacle may stand below a row: whether the recipe of its run is the row's."""
    assert row.settings is not None and one.run is not None and one.epochs is not None
    if row.epochs and not _close(one.epochs, row.epochs):
        return Place(f"pretrained for {one.epochs:g} epochs, not {row.epochs}", agreed=1)
    own, method = one.run.setting("method.name"), str(row.settings.get("method.name", "unigrad"))
    if own != method:
        return Place(f"pretrained with {own}, which is no row of {table.name}", agreed=2)
    if table.strict:
        wanted = _expected(method, row.settings)
    else:  # mixing and crops are known, where the row tells more than its name
        wanted = {name: row.settings.get(name, plain) for name, plain in PLAIN.items()} if row.epochs else {}
    mine = flat({section: one.run.setting(section, {}) for section in COMPARED})
    for side, usual in zip(SIDES, methods.find(method).targets, strict=True):
        mine[side] = one.run.setting(side, usual)
    other = sorted(name for name, value in wanted.items() if name in mine and mine[name] not in (value, None))
    reason = f"pretrained with other options than the row ({', '.join(other)})" if other else ""
    return Place(reason, row.name, agreed=3)


def _expected(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every option of the 100-epoch recipe, which is the defaults, with what the row sets."""
    base, entry = dataclasses.asdict(Config()), methods.find(method)
    expected = flat({section: base[section] for section in COMPARED})
    expected |= {f"method.{name}": value for name, value in vars(entry.defaults()).items()}
    expected["method.balance"] = entry.balance_at(settings.get("model.projector_width", methods.WIDTH))
    expected |= dict(zip(SIDES, entry.targets, strict=True)) | settings
    return {name: value for name, value in expected.items() if name not in FREE}


def _same_detector(result: Result, setting: Setting) -> bool:
    lr = 16 * float(result.settings.get("base_lr") or 0) / int(result.settings.get("images_per_step") or 1)
    pairs = [(_images_seen(result), setting.images_seen), (lr, setting.lr)]  # the lr follows the batch
    pairs += [(result.counts.get(split, 0), there) for split, there in setting.counts.items()]
    alike = result.arch == setting.arch and result.protocol.endswith(f", {setting.protocol_ends}")
    return alike and all(_close(here, there) for here, there in pairs)


def _images_seen(result: Result) -> int:
    """Iterations times images of a step, 0 where the result does not tell."""
    return int(result.settings.get("iterations") or 0) * int(result.settings.get("images_per_step") or 0)


def _close(here: float, there: float) -> bool:
    return abs(here / there - 1) <= SAME
