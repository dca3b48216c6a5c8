"""Which row of the paper a measured number answers to; and if none, why not, in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from pretrain import methods
from pretrain.config import Config
from transfer.report.collect.run_names import flat
from transfer.report.collect.search import PretrainingRun, finite
from transfer.report.collect.trials import RANDOM, Trials
from transfer.report.published.tables import PublishedRow, PublishedTable, published_tables

SAME = 0.01  # share by which numbers of images may differ: damaged images are left out, last batches dropped
PLAIN = {"mixing.cutmix_alpha": 0.0, "views.local_count": 0}  # what a row without CutMix and multi-crop has
COMPARED = ("views", "mixing", "model", "method", "optim")  # sections of a run's configuration that make its recipe
SIDES = ("positive", "negative")
FREE = {"optim.accumulate", "views.photometry", "method.name"}  # how it is computed; the name is compared by itself


class Refusal(NamedTuple):
    """Why a number stands below no row. agreed: how much was the same before that, so that the nearest row is named."""

    agreed: int
    reason: str


def stands_below(measured: Trials, table: PublishedTable) -> str | None:
    """Name of the row of `table` that `measured` stands below, None where it may not."""
    row = _place(measured, table)
    return row.name if isinstance(row, PublishedRow) else None


def _place(measured: Trials, table: PublishedTable) -> PublishedRow | Refusal:
    """The row, or why it may not stand below any."""
    if measured.first.task != table.task:
        return Refusal(0, f"{table.name} holds no numbers of this kind")
    if reason := _evaluation(measured, table) or _trunk(measured, table):
        return Refusal(0, reason)
    assert measured.run is not None
    ours = [row for row in table.rows if row.settings is not None]
    return _best([_recipe(measured, measured.run, row, table) or row for row in ours])


def _best(places: Sequence[PublishedRow | Refusal]) -> PublishedRow | Refusal:
    """The first row among them, else the refusal after most agreement."""
    refusals = [place for place in places if isinstance(place, Refusal)]
    rows = (place for place in places if isinstance(place, PublishedRow))
    return next(rows, None) or max(refusals, key=lambda refusal: (refusal.agreed, -len(refusal.reason)))


def why_not(measured: Trials) -> str:
    """Why no published table of accuracies holds this number; empty where one does."""
    alike = [table for table in published_tables("accuracy") if table.task == measured.first.task]
    fitting = [table for table in alike if not table.setting.labels or _on_its_list(measured, table)]
    if not alike:
        return "the paper has no table of this kind"
    if not fitting:
        return "not fine-tuned on one of SimCLR's two lists"
    best = _best([_place(measured, table) for table in fitting])
    return best.reason if isinstance(best, Refusal) else ""


def _on_its_list(measured: Trials, table: PublishedTable) -> bool:
    """Whether the few labels were those of the table's list."""
    return f"SimCLR's {table.setting.labels} % list" in measured.first.protocol


def _evaluation(measured: Trials, table: PublishedTable) -> str:
    """What differs from the published data, network and protocol; empty where nothing does."""
    first, setting = measured.first, table.setting
    sizes = {name: first.counts.get(name, 0) for name in setting.counts}
    if not all(abs(sizes[name] / there - 1) <= SAME for name, there in setting.counts.items()):
        held = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        wanted = setting.counts
        return f"other data than ImageNet's {wanted['train']:,} images of {wanted['classes']:,} classes ({held})"
    if first.arch != setting.arch:
        return f"a {first.arch}, not a {setting.arch}"
    if setting.labels and not _on_its_list(measured, table):
        return f"not fine-tuned on SimCLR's {setting.labels} % list"
    settings = flat(first.settings)
    other = [name for name, fitting in setting.options.items() if settings.get(name) not in fitting]
    return f"another protocol than the paper's ({', '.join(other)} differ)" if other else ""


def _trunk(measured: Trials, table: PublishedTable) -> str:
    """Why the pretraining cannot be set beside the published one at all; empty where it can."""
    if measured.recipe == RANDOM:
        return "the paper has no row of an untrained network"
    if measured.run is None:
        return "the run folder of its pretraining was not found, so its recipe is unknown"
    seen, epochs = measured.first.pretraining.get("images_seen"), measured.epochs
    images = table.setting.pretraining_images
    if not finite(seen) or not epochs or abs(seen / epochs / images - 1) > SAME:
        return f"not pretrained on ImageNet's {images:,} images"
    return ""


def _recipe(measured: Trials, run: PretrainingRun, row: PublishedRow, table: PublishedTable) -> Refusal | None:
    """What the run differs in from `row`; None where nothing does."""
    assert row.settings is not None and measured.epochs is not None
    if row.epochs and abs(measured.epochs - row.epochs) > SAME * row.epochs:
        return Refusal(1, f"pretrained for {measured.epochs:g} epochs, not {row.epochs}")
    method = str(row.settings.get("method.name", "unigrad"))
    if run.setting("method.name") != method:
        return Refusal(2, f"pretrained with {run.setting('method.name')}, which is no row of {table.name}")
    wanted = _expected(method, row.settings) if table.strict else _known(row)
    mine = flat({section: run.setting(section, {}) for section in COMPARED}) | _branches(run, method)
    other = sorted(name for name, value in wanted.items() if name in mine and mine[name] not in (value, None))
    return Refusal(3, f"pretrained with other options than the row ({', '.join(other)})") if other else None


def _known(row: PublishedRow) -> dict[str, Any]:
    """Mixing and crops, of a row of which little more than its name is known."""
    assert row.settings is not None
    return {name: row.settings.get(name, plain) for name, plain in PLAIN.items()} if row.epochs else {}


def _expected(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every option of the 100-epoch recipe, which is the defaults, with what the row sets."""
    base = dataclasses.asdict(Config())
    common = flat({section: base[section] for section in COMPARED})
    entry = methods.find(method)
    own = {f"method.{name}": value for name, value in vars(entry.defaults()).items()}
    width = settings.get("model.projector_width", methods.WIDTH)
    if entry.balance is not None:
        own["method.balance"] = entry.balance_at(width)
    own |= {f"method.{name}_target": value for name, value in zip(SIDES, entry.targets, strict=True)}
    return {name: value for name, value in (common | own | settings).items() if name not in FREE}


def _branches(run: PretrainingRun, method: str) -> dict[str, Any]:
    """The branches that a run's targets were, given or the method's own."""
    own = zip(SIDES, methods.find(method).targets, strict=True)
    return {f"method.{side}_target": run.setting(f"method.{side}_target", usual) for side, usual in own}
