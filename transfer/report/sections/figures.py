"""Which logged quantities are drawn, and their charts over several runs: the paper's Figures 2 and 3, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transfer.report.collect.find import PretrainingRun
from transfer.report.collect.run_labels import label
from transfer.report.render.charts import Chart, Line


@dataclass(frozen=True)
class Panel:
    """One chart to be.

    Args:
        key: file name and identity. title, meaning: over it; meaning is one clause.
        quantities: keys of metrics.jsonl, each with its name in the legend, "" where the run's label says enough.
        unit: of the values. needs: what a run must have been given so that it measures this, "" where every run does.
    """

    key: str
    title: str
    meaning: str
    quantities: dict[str, str]
    unit: str = ""
    needs: str = ""


FIGURE_2 = (
    Panel(
        "figure_2a",
        "(a) Similarity of positive pairs",
        "mean cosine between the two views of an image",
        {"positive_cosine": ""},
    ),
    Panel(
        "figure_2b",
        "(b) Similarity of negative pairs",
        "mean cosine between views of different images",
        {"negative_cosine": ""},
    ),
    Panel(
        "figure_2c",
        "(c) k-NN accuracy",
        "of the validation images, from their 20 nearest training images (T = 0.07)",
        {"knn_top1": ""},
        unit="%",
        needs="data.val",
    ),
    Panel(
        "figure_2d",
        "(d) Feature decorrelation",
        "mean absolute correlation of two channels; unrelated ones give about 0.8 / √batch",
        {"decorrelation": ""},
    ),
    Panel(
        "effective_rank",
        "Effective rank",
        "of the feature correlation (RankMe); falling towards 1 means collapse",
        {"effective_rank": ""},
    ),
)
FIGURE_3 = (
    Panel(
        "figure_3a",
        "(a) DirectPred: terms of W W u1",
        "mean lengths of the three terms (Eq. 25), and the cosine of the first two",
        {
            "directpred_first_norm": "F u1 / λmax",
            "directpred_middle_norm": "2ε (F / λmax)^½ u1",
            "directpred_last_norm": "ε² u1",
            "directpred_cosine": "cosine of the first two",
        },
        needs="method.name=directpred",
    ),
    Panel(
        "figure_3b",
        "(b) DirectPred: dynamic λ",
        "mean balance factor that the predictor implies (Eq. 24)",
        {"directpred_balance": ""},
        needs="method.name=directpred",
    ),
    Panel(
        "figure_3c",
        "(c) Barlow Twins: diagonal of A",
        "its smallest and largest entry (Eq. 9); A = I where both are 1",
        {"barlow_a_min": "smallest", "barlow_a_max": "largest"},
        needs="method.name=barlow_twins",
    ),
    Panel(
        "figure_3d",
        "(d) VICReg: the term that l2 drops",
        "mean cosine between it and u1 (Eq. 11); at 1 it is radial and the l2 norm removes it",
        {"vicreg_dropped_cosine": ""},
        needs="method.name=vicreg",
    ),
)
OPTIMISATION = (
    Panel(
        "energy",
        "Negative energy of UniGrad",
        "negative term / balance: mean squared cosine to other samples",
        {"energy": ""},
        needs="method.name=unigrad",
    ),
    Panel("lr", "Learning rate", "of the optimiser", {"lr": ""}),
    Panel(
        "target_momentum",
        "Target momentum",
        "of the target network's moving average",
        {"target_momentum": ""},
    ),
    Panel("images_per_second", "Images per second", "all ranks together", {"images_per_second": ""}),
    Panel("data_wait", "Data wait", "share of the time spent waiting for images", {"data_wait": ""}, unit="%"),
)


def charts(runs: Sequence[PretrainingRun], panels: Sequence[Panel]) -> list[Chart]:
    """The charts of those `panels` that any run has values for, with a line for each run that has them.

    Over epochs where every line of every run has them, else over steps. A run has the same style in all charts; where
    a panel has several quantities, its lines have styles of their own.
    """
    x_key = "epoch" if all("epoch" in line for run in runs for line in run.lines) else "step"
    drawn = []
    for panel in panels:
        lines = _lines(runs, panel, x_key)
        if lines:
            drawn.append(Chart(panel.key, panel.title, panel.meaning, x_key, panel.unit, lines))
    return drawn


def _lines(runs: Sequence[PretrainingRun], panel: Panel, x_key: str) -> tuple[Line, ...]:
    lines: list[tuple[str, Line]] = []
    for entry in label(runs):
        for key, name in panel.quantities.items():
            line = _line(entry.run, key, x_key, entry.label, entry.style)
            lines += [(name, line)] if line.x else []
    if len(panel.quantities) == 1:
        return tuple(line for _, line in lines)
    alone = len({line.name for _, line in lines}) == 1
    named = [replace(line, name=name if alone else f"{line.name}: {name}") for name, line in lines]
    names = list(dict.fromkeys(line.name for line in named))
    return tuple(replace(line, style=names.index(line.name)) for line in named)


def _line(run: PretrainingRun, key: str, x_key: str, name: str, style: int) -> Line:
    points = [(float(entry[x_key]), _value(run, entry, key)) for entry in run.lines]
    known = [(x, y) for x, y in points if y is not None]
    return Line(name, tuple(x for x, _ in known), tuple(y for _, y in known), style)


def _value(run: PretrainingRun, entry: dict[str, Any], key: str) -> float | None:
    """A logged value in the panel's unit, None where there is none."""
    value = entry.get("negative" if key == "energy" else key)
    if not isinstance(value, int | float):
        return None
    if key == "energy":  # Eq. 15 is UniGrad's; in other methods the negative term means other things
        balance = run.setting("method.balance")
        return value / balance if run.setting("method.name") == "unigrad" and balance else None
    return 100.0 * value if key == "data_wait" else value
