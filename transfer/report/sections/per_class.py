"""Detection in detail: numbers of every class, and precision over recall, of both initialisations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from transfer.report.collect.recipe import by_recipe
from transfer.report.collect.search import Collected, finite
from transfer.report.render.charts import Chart, Line
from transfer.report.render.document import Block, Charts, Table
from transfer.report.sections import Section
from transfer.report.sections.predictions import INITS, TITLES, opening
from transfer.results import Result

KINDS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints", "iou": "pixels"}
NUMBER = {"iou": "IoU"}  # what a class's number is called, elsewhere AP
MOST_CLASSES = 30  # rows of a table: of more classes those that differ most
SHOWN_IOUS = ("0.50", "0.75")


def build(data: Collected) -> list[Block] | None:
    """For each protocol and recipe that tells them: curves of the lowest seed, the mean over seeds of every class."""
    told = [e for e in data.results if e.result.task in TITLES and e.result.artefacts.get("by_class")]
    blocks: list[Block] = []
    for number, (protocol, recipe, sides) in enumerate(by_recipe(told, data.runs)):
        of_init = {init: [entry.result for entry in sides[init]] for init in INITS}
        blocks += opening(protocol, recipe, f"classes-{number}")
        charts = _charts(number, of_init)
        blocks += [Charts(tuple(charts), 2, legend="own")] if charts else []
        told_of = {kind for found in of_init.values() for r in found for kind in r.artefacts.get("by_class", {})}
        blocks += [_table(kind, of_init) for kind in KINDS if kind in told_of]
    return blocks or None


def _charts(number: int, of_init: dict[str, list[Result]]) -> list[Chart]:
    charts = []
    for kind, name in KINDS.items():
        for iou in SHOWN_IOUS:
            lines = []
            for style, (init, found) in enumerate(of_init.items()):
                curves = min(found, key=lambda r: r.seed).artefacts.get("curves", {}).get(kind, {}) if found else {}
                if curves.get(iou):
                    lines.append(Line(INITS[init], tuple(curves["recall"]), tuple(curves[iou]), style))
            if lines:
                title = f"Precision of {name} at IoU {iou}"
                key = f"precision_{number}_{kind}_{iou.replace('.', '')}"
                meaning = "mean over the classes, over recall in percent; of the lowest seed"
                charts.append(Chart(key, title, meaning, "recall", "%", tuple(lines)))
    return charts


def _table(kind: str, of_init: dict[str, list[Result]]) -> Table:
    means = {init: _means(kind, found) for init, found in of_init.items()}
    names = list(dict.fromkeys(name for table in means.values() for name in table))
    shared = means["pretrained"].keys() & means["random"].keys()
    both = {name: means["pretrained"][name] - means["random"][name] for name in names if name in shared}
    if len(names) > MOST_CLASSES:
        names = sorted(names, key=lambda name: -abs(both.get(name, 0.0)))[:MOST_CLASSES]
    rows = tuple(
        (name, *(_text(means[init].get(name)) for init in INITS), f"{both[name]:+.1f}" if name in both else "—")
        for name in names
    )
    count = "; ".join(f"{INITS[init]}: n={len(found)}" for init, found in of_init.items() if found)
    caption = f"{NUMBER.get(kind, 'AP')} of {KINDS[kind]} by class, mean over seeds ({count})"
    return Table(caption, ("Class", "Random init", "Pretrained", "Difference"), rows, frozenset({1, 2, 3}))


def _means(kind: str, found: Sequence[Result]) -> dict[str, float]:
    tables = [result.artefacts.get("by_class", {}).get(kind, {}) for result in found]
    names = dict.fromkeys(name for table in tables for name in table)
    told = {name: [table[name] for table in tables if finite(table.get(name))] for name in names}
    return {name: fmean(values) for name, values in told.items() if values}


def _text(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"


SECTIONS = (Section("classes", "Classes and curves", 90, build),)
