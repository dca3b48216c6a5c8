"""Detections drawn on images: the random and the pretrained network's answers to the same pictures, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transfer.report.collect.names import arch_name
from transfer.report.collect.recipe import Protocol, by_recipe
from transfer.report.collect.search import Collected, Downstream
from transfer.report.render.document import Block, Figure, Figures, Heading, Text
from transfer.report.render.pictures import Picture
from transfer.report.sections import Section

MOST_IMAGES = 4
WIDTH = 800  # pixels; a pair stands side by side in the page
TITLES = {"detection": "Detection", "segmentation": "Segmentation", "semantic": "Semantic segmentation"}
INITS = {"random": "random initialisation", "pretrained": "pretrained"}


def build(data: Collected) -> list[Block]:
    """For each detection protocol and recipe its first images, by the results of the lowest seed of either side.

    Pictures that cannot be read are named in data.notes.
    """
    each = by_recipe((entry for entry in data.results if entry.result.task in TITLES), data.runs)
    if not each:
        return [Text("No detection or segmentation result was found.", "note")]
    blocks: list[Block] = []
    for number, (protocol, recipe, of_init) in enumerate(each):
        blocks += opening(protocol, recipe, f"detections-{number}") + _pairs(number, of_init, data)
    return blocks


def opening(of: Protocol, recipe: str, anchor: str) -> list[Block]:
    """Heading and protocol of one evaluation of one recipe."""
    task, dataset, protocol, arch = of
    title = ", ".join(filter(None, (f"{TITLES[task]} on {dataset}", arch_name(arch), recipe)))
    return [Heading(title, anchor, 3), Text(f"{protocol}.", "note")]


def _pairs(number: int, of_init: Mapping[str, Sequence[Downstream]], data: Collected) -> list[Block]:
    sides = {init: min(of_init[init], key=lambda entry: entry.result.seed) for init in INITS if of_init[init]}
    images = {init: _images(entry) for init, entry in sides.items()}
    names = [name for name in dict.fromkeys(name for of_side in images.values() for name in of_side)]
    shared = [name for name in names if all(name in of_side for of_side in images.values())] or names
    figures: list[Figure] = []
    for name in shared[:MOST_IMAGES]:
        row = [_figure(number, name, init, images[init].get(name), entry) for init, entry in sides.items()]
        problems = [problem for figure in row if (problem := figure.picture.problem())]
        data.notes += problems
        figures += [] if problems else row  # a pair is shown whole or not at all
    missing = [INITS[init] for init in INITS if init not in sides]
    notes: list[Block] = [Text(f"No result for {' or '.join(missing)}.", "note")] if missing else []
    if not figures:
        return [*notes, Text("These results carry no pictures that can be shown.", "note")]
    return [*notes, Figures(tuple(figures), len(sides))]


def _figure(number: int, name: str, init: str, path: Path | None, entry: Downstream) -> Figure:
    caption = f"{Path(name).stem}, {INITS[init]}, seed {entry.result.seed}: predictions beside ground truth"
    picture = Picture(path or entry.path.parent / name, WIDTH)
    return Figure(picture, f"detection_{number}_{init}_{Path(name).stem}", caption, caption)


def _images(entry: Downstream) -> dict[str, Path]:
    """File name to path of a result's pictures; their paths are relative to the result file."""
    listed = entry.result.artefacts.get("images") or []
    return {Path(str(name)).name: entry.path.parent / str(name) for name in listed}


SECTIONS = (Section("detections", "Detections", 100, build),)
