"""Which row of the paper a measured number answers to; and if none, why not, in one sentence."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from pretrain import methods
from pretrain.config import Config
from transfer.report.collect.find import PretrainingRun, finite
from transfer.report.collect.run_labels import flat
from transfer.report.collect.trials import RANDOM, Measured
from transfer.report.published.accuracy_tables import TABLES, PaperRow, PaperTable

SAME = 0.01  # share by which numbers of images may differ: damaged images are left out, last batches dropped
IMAGENET = {"train": 1_281_167, "val": 50_000, "classes": 1000}
LISTED = {1: 12_811, 10: 128_116}  # images of SimCLR's lists
SEEN_AT = {"image_size": 224, "resize": (0, 256)}
OFFICIAL = {  # configs/linear/official.yaml
    "probe": "augmented",
    "head.optimiser": "lars",
    "head.lrs": [0.1],
    "head.reference_batch": 256,
    "head.batch_size": 4096,
    "head.weight_decays": [0.0],
    "head.epochs": 90,
    "head.schedule": "cosine",
    "head.momentum": 0.9,
    "head.nesterov": False,
    "head.min_scale": 0.08,
}
FEW_LABELS = {  # configs/finetune/twist_*.yaml: the paper's TWIST row is TWIST's own, so this is likely its protocol
    "sweep": [],
    "batch_size": 256,
    "reference_batch": 256,
    "lr_head": 0.2,
    "epochs": 20,
    "schedule": "cosine",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 0.0,
    "min_scale": 0.08,
}
TRUNK_LR = {1: 0.04, 10: 0.02}
PLAIN = {"mixing.cutmix_alpha": 0.0, "views.local_count": 0}  # what a row without CutMix and multi-crop has
COMPARED = ("views", "mixing", "model", "method", "optim")  # sections of a run's configuration that make its recipe
SIDES = ("positive", "negative")
FREE = {"optim.accumulate", "views.photometry", "method.name"}  # how it is computed; the name is compared by itself


class Refusal(NamedTuple):
    """Why a number stands below no row. agreed: how much was the same before that, so that the nearest row is named."""

    agreed: int
    reason: str


def place(measured: Measured, table: PaperTable) -> PaperRow | Refusal:
    """The row of `table` that `measured` stands below, or why it may not."""
    if measured.first.task != table.task:
        return Refusal(0, f"Table {table.number} holds no numbers of this kind")
    if reason := _evaluation(measured, table) or _trunk(measured):
        return Refusal(0, reason)
    assert measured.run is not None
    refusals = []
    for row in table.rows:
        if row.settings is None:
            continue
        refusal = _recipe(measured, measured.run, row, table)
        if refusal is None:
            return row
        refusals.append(refusal)
    return _nearest(refusals)


def _nearest(refusals: Sequence[Refusal]) -> Refusal:
    return max(refusals, key=lambda refusal: (refusal.agreed, -len(refusal.reason)))


def why_not(measured: Measured) -> str:
    """Why no table of accuracies in the paper holds this number."""
    task = measured.first.task
    fitting = [table for table in TABLES if table.task == task and (not table.labels or table.labels == _few(measured))]
    if not any(table.task == task for table in TABLES):
        return "the paper has no table of this kind"
    if not fitting:
        return "not fine-tuned on one of SimCLR's two lists"
    return _nearest([found for table in fitting if isinstance(found := place(measured, table), Refusal)]).reason


def _few(measured: Measured) -> int:
    """Percent of the labels by SimCLR's list, 0 where the images were chosen otherwise."""
    return next((share for share in LISTED if f"SimCLR's {share} % list" in measured.first.protocol), 0)


def _evaluation(measured: Measured, table: PaperTable) -> str:
    """What differs from the paper's data, network and protocol; empty where nothing does."""
    first = measured.first
    wanted = dict(IMAGENET)
    if table.labels:
        wanted["train"] = LISTED[table.labels]
    sizes = {name: first.counts.get(name, 0) for name in wanted}
    if not all(abs(sizes[name] / there - 1) <= SAME for name, there in wanted.items()):
        held = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        return f"other data than ImageNet's {wanted['train']:,} images of 1,000 classes ({held})"
    if first.arch != "resnet50":
        return f"a {first.arch}, not a resnet50"
    expected: dict[str, Any] = dict(OFFICIAL)
    if table.labels:
        if _few(measured) != table.labels:
            return f"not fine-tuned on SimCLR's {table.labels} % list"
        expected = FEW_LABELS | {"lr_trunk": TRUNK_LR[table.labels]}
    settings = flat(first.settings)
    other = [name for name, value in expected.items() if settings.get(name) != value]
    other += [] if settings.get("image_size") == SEEN_AT["image_size"] else ["image_size"]
    other += [] if settings.get("resize", 0) in SEEN_AT["resize"] else ["resize"]
    return f"another protocol than the paper's ({', '.join(other)} differ)" if other else ""


def _trunk(measured: Measured) -> str:
    """Why the pretraining cannot be set beside the paper's at all; empty where it can."""
    if measured.recipe == RANDOM:
        return "the paper has no row of an untrained network"
    if measured.run is None:
        return "the run folder of its pretraining was not found, so its recipe is unknown"
    seen, epochs = measured.first.pretraining.get("images_seen"), measured.epochs
    if not finite(seen) or not epochs or abs(seen / epochs / IMAGENET["train"] - 1) > SAME:
        return "not pretrained on ImageNet's 1,281,167 images"
    return ""


def _recipe(measured: Measured, run: PretrainingRun, row: PaperRow, table: PaperTable) -> Refusal | None:
    """What the run differs in from `row`; None where nothing does."""
    assert row.settings is not None and measured.epochs is not None
    if row.epochs and abs(measured.epochs - row.epochs) > SAME * row.epochs:
        return Refusal(1, f"pretrained for {measured.epochs:g} epochs, not {row.epochs}")
    method = str(row.settings.get("method.name", "unigrad"))
    if run.setting("method.name") != method:
        return Refusal(2, f"pretrained with {run.setting('method.name')}, which is no row of Table {table.number}")
    wanted = _expected(method, row.settings) if table.strict else _known(row)
    mine = flat({section: run.setting(section, {}) for section in COMPARED}) | _branches(run, method)
    other = sorted(name for name, value in wanted.items() if name in mine and mine[name] not in (value, None))
    return Refusal(3, f"pretrained with other options than the row ({', '.join(other)})") if other else None


def _known(row: PaperRow) -> dict[str, Any]:
    """Mixing and crops, of a row of which little more than its name is known."""
    assert row.settings is not None
    return {name: row.settings.get(name, plain) for name, plain in PLAIN.items()} if row.epochs else {}


def _expected(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every option of the 100-epoch recipe, which is the defaults, with what the row sets."""
    base = dataclasses.asdict(Config())
    common = flat({section: base[section] for section in COMPARED})
    entry = methods.find(method)
    own = {
        f"method.{name}": parameter.default
        for name, parameter in inspect.signature(entry.make).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    width = settings.get("model.projector_width", methods.WIDTH)
    if entry.balance is not None:
        own["method.balance"] = entry.balance * (width / methods.WIDTH) ** entry.grows
    own |= {f"method.{name}_target": value for name, value in zip(SIDES, entry.targets, strict=True)}
    return {name: value for name, value in (common | own | settings).items() if name not in FREE}


def _branches(run: PretrainingRun, method: str) -> dict[str, Any]:
    """The branches that a run's targets were, given or the method's own."""
    own = zip(SIDES, methods.find(method).targets, strict=True)
    return {f"method.{side}_target": run.setting(f"method.{side}_target", usual) for side, usual in own}
