"""Detectors in detail, random and pretrained side by side: numbers of every class, precision, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from transfer.report.collect.files import Downstream, finite
from transfer.report.collect.names import arch_name
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Comparison, comparisons
from transfer.report.render.charts import Chart, Line
from transfer.report.render.document import Block, Figure, block, heading, note, table
from transfer.report.sections import Section, cells
from transfer.results import Result

TITLES = {"detection": "Detection", "segmentation": "Segmentation", "semantic": "Semantic segmentation"}
INITS = {"random": "random initialisation", "pretrained": "pretrained"}
KINDS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints", "iou": "pixels"}
SHOWN_IOUS = ("0.50", "0.75")
MOST_CLASSES = 30  # rows of a table: of more classes those that differ most
MOST_IMAGES, WIDTH = 4, 800  # pixels of a picture's width; a pair stands side by side in the page


def classes(data: Collected) -> Iterator[Block]:
    """For each protocol and recipe that tells them: curves of the lowest seed, the mean over seeds of every class."""
    told = [entry for entry in data.results if entry.result.task in TITLES and entry.result.artefacts.get("by_class")]
    for number, of in enumerate(comparisons(told, data.runs)):
        yield from _opening(of, f"classes-{number}")
        sides = {init: of.results(init) for init in INITS}
        if charts := [*_charts(number, sides)]:
            yield block("Charts", charts=charts, columns=2, legend="own")
        for kind, name in KINDS.items():
            random, pretrained = (_means(kind, results) for results in sides.values())
            gains = {one: value - random[one] for one, value in pretrained.items() if one in random}
            names = list(random | pretrained)
            if len(names) > MOST_CLASSES:
                names = sorted(names, key=lambda one: -abs(gains.get(one, 0.0)))[:MOST_CLASSES]
            if names:
                known = {"random": random, "pretrained": pretrained, "gains": gains}
                count = "; ".join(f"{INITS[init]}: n={len(results)}" for init, results in sides.items() if results)
                caption = f"{'IoU' if kind == 'iou' else 'AP'} of {name} by class, mean over seeds ({count})"
                rows = [cells("class", name=one, **known) for one in names]
                yield table(caption, rows, ("Random init", "Pretrained", "Difference"))


def _opening(of: Comparison, anchor: str) -> Iterator[Block]:
    """Heading and protocol of one evaluation of one recipe."""
    title = ", ".join(filter(None, (f"{TITLES[of.task]} on {of.dataset}", arch_name(of.arch), of.recipe)))
    yield heading(title, anchor)
    yield note(f"{of.protocol}.")


def _charts(number: int, sides: dict[str, list[Result]]) -> Iterator[Chart]:
    lowest = {init: min(results, key=lambda one: one.seed).artefacts for init, results in sides.items() if results}
    meaning = "mean over the classes, over recall in percent; of the lowest seed"
    for kind, name in KINDS.items():
        curves = {init: artefacts.get("curves", {}).get(kind, {}) for init, artefacts in lowest.items()}
        for iou in SHOWN_IOUS:
            lines = tuple(
                Line(words, tuple(curves[init]["recall"]), tuple(curves[init][iou]), style)
                for style, (init, words) in enumerate(INITS.items())
                if curves.get(init, {}).get(iou)
            )
            if lines:
                key = f"precision_{number}_{kind}_{iou.replace('.', '')}"
                yield Chart(key, f"Precision of {name} at IoU {iou}", meaning, "recall", "%", lines)


def _means(kind: str, results: Sequence[Result]) -> dict[str, float]:
    """Of every class over the results."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.artefacts.get("by_class", {}).get(kind, {}).items():
            values.setdefault(name, []).extend([value] if finite(value) else [])
    return {name: fmean(numbers) for name, numbers in values.items() if numbers}


def pictures(data: Collected) -> Iterator[Block]:
    """For each detection protocol and recipe its first images, by the results of the lowest seed of either side."""
    each = comparisons([entry for entry in data.results if entry.result.task in TITLES], data.runs)
    if not each:
        yield note("No detection or segmentation result was found.")
    for number, of in enumerate(each):
        yield from _opening(of, f"detections-{number}")
        if missing := [INITS[init] for init, side in of.sides.items() if not side]:
            yield note(f"No result for {' or '.join(missing)}.")
        pairs = [pair for pair in _pairs(number, of) if all([figure.readable(data.notes) for figure in pair])]
        if pairs:  # each whole
            yield block("Figures", figures=[figure for pair in pairs for figure in pair], columns=len(pairs[0]))
        else:
            yield note("These results carry no pictures that can be shown.")


def _pairs(number: int, of: Comparison) -> list[list[Figure]]:
    """Of each image the pictures of both sides; of those that both show, if there are any."""
    sides = {init: min(side, key=lambda entry: entry.result.seed) for init, side in of.sides.items() if side}
    images: dict[str, dict[str, Path]] = {}
    for init, entry in sides.items():
        for listed in entry.result.artefacts.get("images") or []:
            images.setdefault(Path(str(listed)).name, {})[init] = entry.path.parent / str(listed)
    shared = [name for name, paths in images.items() if len(paths) == len(sides)] or list(images)

    def picture(name: str, init: str, entry: Downstream) -> Figure:
        stem, path = Path(name).stem, images[name].get(init, entry.path.parent / name)
        caption = f"{stem}, {INITS[init]}, seed {entry.result.seed}: predictions beside ground truth"
        return Figure(path, f"detection_{number}_{init}_{stem}", caption, most=WIDTH)

    return [[picture(name, init, entry) for init, entry in sides.items()] for name in shared[:MOST_IMAGES]]


SECTIONS = (
    Section("classes", "Classes and curves", 90, classes),
    Section("detections", "Detections", 100, pictures),
)
