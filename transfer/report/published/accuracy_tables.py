"""The paper's accuracies (Tables 2 to 5 and 9 to 11) and what a run must have been like to stand beside a row of them.

Source of all values: Tao et al., "Exploring the Equivalence of Siamese Self-Supervised Learning via A Unified Gradient
Framework", CVPR 2022 (arXiv 2112.05141). Table 8 is in published.py. Tables 1, 6 and 7 have no number in our source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SOURCE = "Tao et al., CVPR 2022, arXiv 2112.05141"
TOP1, TOP5, HOURS = "top1", "top5", "pretraining hours"
CUTMIX, MULTI_CROP = {"mixing.cutmix_alpha": 1.0}, {"views.local_count": 6, "views.min_scale": 0.4}
STOP, MOMENTUM = "stop_gradient", "momentum"


@dataclass(frozen=True)
class PaperRow:
    """A published row. values: in the order of the table's columns, percent or hours.

    settings: options of the pretraining run in which it differs from the base recipe; None where no configuration of
    ours is this row.
    """

    name: str
    values: tuple[float, ...]
    epochs: int | None
    settings: dict[str, Any] | None = None


@dataclass(frozen=True)
class PaperTable:
    """task: of our results. labels: percent of the labels that few-label results saw, 0 where it is another task.

    strict: the row's configuration is known whole (100 epochs), so that every other option of a run must be the base
    recipe's; else the method, and where the row names its epochs its mixing and its crops, are all that is known.
    """

    number: str
    title: str
    task: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...] = field(repr=False)
    strict: bool = True
    labels: int = 0


def _method(name: str, top1: float, method: str, **targets: str) -> PaperRow:
    return PaperRow(name, (top1,), 100, {"method.name": method, **{f"method.{k}": v for k, v in targets.items()}})


def _targets(positive: str, negative: str, *values: float) -> tuple[PaperRow, ...]:
    methods = (("contrastive, 2(b)", "simclr"), ("asymmetric, 2(e)", "unigrad"), ("decorrelation, 2(j)", "vicreg_l2"))
    words = f"positive {positive.replace('_', '-')}, negative {negative.replace('_', '-')}"
    targets = {"positive_target": positive, "negative_target": negative}
    return tuple(
        _method(f"{name}: {words}", value, method, **targets)
        for (name, method), value in zip(methods, values, strict=True)
    )


def _projector(what: str, values: dict[int, float]) -> tuple[PaperRow, ...]:
    return tuple(PaperRow(f"{what} {x}", (top1,), 100, {f"model.projector_{what}": x}) for x, top1 in values.items())


def _few(*rows: tuple[str, float, float]) -> tuple[PaperRow, ...]:
    settings: dict[str, dict[str, Any]] = {
        "SimCLR": {"method.name": "simclr"},
        "BYOL": {"method.name": "byol"},
        "Barlow Twins": {"method.name": "barlow_twins"},
        "UniGrad": {"method.name": "unigrad"},
    }
    return tuple(PaperRow(name, (one, five), None, settings.get(name)) for name, one, five in rows)


TABLES = (
    PaperTable(
        "2",
        "the methods under one setting, linear evaluation on ImageNet",
        "linear",
        (TOP1,),
        (
            _method("a MoCo", 70.0, "moco"),
            _method("b SimCLR*", 70.0, "simclr"),
            _method("c BYOL", 70.3, "byol"),
            _method("d BYOL (DirectPred)", 70.2, "directpred"),
            _method("e asymmetric, unified = UniGrad", 70.3, "unigrad"),
            _method("f Barlow Twins*", 69.0, "barlow_twins"),
            _method("g Barlow Twins, A = I", 69.7, "barlow_twins_identity"),
            _method("h Barlow Twins, l2 norm", 70.0, "barlow_twins_l2"),
            _method("i VICReg*", 70.0, "vicreg"),
            _method("j VICReg, l2 norm, no std term", 69.8, "vicreg_l2"),
        ),
    ),
    PaperTable(
        "3",
        "target branch of the positive and of the negative gradient, linear evaluation on ImageNet",
        "linear",
        (TOP1,),
        _targets(STOP, STOP, 67.6, 67.9, 67.6)
        + _targets(MOMENTUM, MOMENTUM, 70.0, 70.2, 69.8)
        + _targets(MOMENTUM, STOP, 70.1, 70.3, 69.8),
    ),
    PaperTable(
        "4",
        "CutMix and multi-crop, linear evaluation on ImageNet",
        "linear",
        (TOP1, HOURS),
        (
            PaperRow("UniGrad", (70.3, 38.2), 100, {}),
            PaperRow("UniGrad+CutMix", (71.2, 38.2), 100, CUTMIX),
            PaperRow("UniGrad+multi-crop", (71.7, 114.6), 100, MULTI_CROP),
            PaperRow("UniGrad+CutMix+multi-crop", (72.3, 114.6), 100, CUTMIX | MULTI_CROP),
        ),
    ),
    PaperTable(
        "5",
        "long pretraining, linear evaluation on ImageNet",
        "linear",
        (TOP1,),
        (
            PaperRow("MoCo v2", (71.1,), 800, {"method.name": "moco"}),
            PaperRow("SimCLR", (69.3,), 1000, {"method.name": "simclr"}),
            PaperRow("BYOL", (74.3,), 1000, {"method.name": "byol"}),
            PaperRow("SimSiam", (71.3,), 800, {"method.name": "simsiam"}),
            PaperRow("Barlow Twins", (73.2,), 1000, {"method.name": "barlow_twins"}),
            PaperRow("VICReg", (73.2,), 1000, {"method.name": "vicreg"}),
            PaperRow("DINO (+multi-crop)", (75.3,), 800),
            PaperRow("TWIST (+multi-crop)", (75.5,), 800),
            PaperRow("UniGrad+CutMix", (74.9,), 800, CUTMIX),
            PaperRow("UniGrad+CutMix+multi-crop", (75.5,), 800, CUTMIX | MULTI_CROP),
        ),
        strict=False,
    ),
    PaperTable(
        "9",
        "depth of the projector, linear evaluation on ImageNet",
        "linear",
        (TOP1,),
        _projector("depth", {1: 60.7, 2: 65.2, 3: 70.3, 4: 70.0, 5: 69.8}),
    ),
    PaperTable(
        "10",
        "width of the projector, linear evaluation on ImageNet",
        "linear",
        (TOP1,),
        _projector("width", {1024: 68.3, 2048: 70.3, 4096: 70.5, 8192: 70.9, 16384: 71.2}),
    ),
    PaperTable(
        "11",
        "fine-tuning on 1 % of ImageNet's labels",
        "semi",
        (TOP1, TOP5),
        _few(
            ("Supervised", 25.4, 48.4),
            ("SimCLR", 48.3, 75.5),
            ("BYOL", 53.2, 78.4),
            ("Barlow Twins", 55.0, 79.2),
            ("DINO", 52.2, 78.2),
            ("TWIST", 61.2, 84.2),
            ("UniGrad", 60.8, 83.8),
        ),
        strict=False,
        labels=1,
    ),
    PaperTable(
        "11",
        "fine-tuning on 10 % of ImageNet's labels",
        "semi",
        (TOP1, TOP5),
        _few(
            ("Supervised", 56.4, 80.4),
            ("SimCLR", 65.6, 87.8),
            ("BYOL", 68.8, 89.0),
            ("Barlow Twins", 69.7, 89.3),
            ("DINO", 68.2, 89.1),
            ("TWIST", 71.7, 91.0),
            ("UniGrad", 71.5, 90.6),
        ),
        strict=False,
        labels=10,
    ),
)
