"""Pictures that the further readings of features left: nearest neighbours, and a map of the features."""

from __future__ import annotations

from pathlib import Path

from transfer.report.collect.names import arch_name
from transfer.report.collect.recipe import recipe_of
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import RANDOM
from transfer.report.render.document import Block, Figure, Figures
from transfer.report.render.pictures import Picture
from transfer.report.sections import Section

WIDTH = 900


def build(data: Collected) -> list[Block] | None:
    """Every picture of every `readings` result, an untrained network's first; what cannot be read is in data.notes."""
    figures = []
    entries = [entry for entry in data.results if entry.result.task == "readings" and not entry.superseded]
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.result.init == "pretrained")):
        result = entry.result
        recipe = RANDOM if result.init == "random" else recipe_of(result, data.runs)
        for name in result.artefacts.get("images") or []:
            picture = Picture(entry.path.parent / str(name), WIDTH)
            if problem := picture.problem():
                data.notes.append(problem)
                continue
            kind = Path(str(name)).stem.removeprefix(f"{entry.path.stem}-")
            caption = f"{kind.replace('_', ' ')}: {arch_name(result.arch)}, {recipe}, on {result.dataset}"
            figures.append(Figure(picture, f"readings_{number}_{kind}", caption, caption))
    figures.sort(key=lambda figure: figure.key.split("_", 2)[2])
    return [Figures(tuple(figures), 2)] if figures else None


SECTIONS = (Section("gallery", "Pictures of the features", 80, build),)
