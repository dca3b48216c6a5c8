"""Pictures that runs and results left: views that training saw, nearest neighbours, and maps of the features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transfer.report.collect.names import arch_name, recipe_of
from transfer.report.collect.search import Collected
from transfer.report.render.document import Block, Figure, block, note
from transfer.report.sections import Section

MOST_RUNS = 6  # whose views are shown
WIDTH = 900  # of a picture of features, in pixels


def views(data: Collected) -> Iterator[Block]:
    """The first runs' pictures of views, and which runs have none."""
    figures: dict[str, Figure] = {}
    for number, run in enumerate(data.runs):
        caption = f"{run.name}: the first step's views, an image a column and a view a row."
        alt = f"Grid of augmented views of training images of run {run.name}"
        figure = Figure(run.folder / "views.png", f"views_{number}", caption, alt)
        if figure.path.is_file() and figure.readable(data.notes):
            figures[run.name] = figure
    missing = [run.name for run in data.runs if run.name not in figures]
    if figures:
        yield block("Figures", figures=list(figures.values())[:MOST_RUNS], columns=min(2, len(figures)))
    if missing or not data.runs:
        yield note(f"No picture of views: {', '.join(missing) or 'no pretraining run was found'}.")


def features(data: Collected) -> Iterator[Block]:
    """Every picture of every `readings` result, an untrained network's first; what cannot be read is in data.notes."""
    figures: dict[str, list[Figure]] = {}
    entries = [entry for entry in data.results if entry.result.task == "readings" and not entry.superseded]
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.result.init == "pretrained")):
        result = entry.result
        for name in result.artefacts.get("images") or []:
            kind = Path(str(name)).stem.removeprefix(f"{entry.path.stem}-")
            network = f"{arch_name(result.arch)}, {recipe_of(result, data.runs)}"
            caption = f"{kind.replace('_', ' ')}: {network}, on {result.dataset}"
            figure = Figure(entry.path.parent / str(name), f"readings_{number}_{kind}", caption, most=WIDTH)
            if figure.readable(data.notes):
                figures.setdefault(kind, []).append(figure)
    if figures:
        yield block("Figures", figures=[one for kind in sorted(figures) for one in figures[kind]], columns=2)


SECTIONS = (
    Section("views", "Views that training saw", 50, views),
    Section("gallery", "Pictures of the features", 80, features),
)
