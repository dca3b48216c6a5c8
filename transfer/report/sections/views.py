"""Pictures of the views that training saw."""

from __future__ import annotations

from transfer.report.collect.search import Collected
from transfer.report.render.document import Block, Figure, Figures, Text
from transfer.report.render.pictures import Picture
from transfer.report.sections import Section

MOST = 6


def build(data: Collected) -> list[Block]:
    """The first runs' pictures, and which runs have none."""
    figures: list[Figure] = []
    missing: list[str] = []
    for number, run in enumerate(data.runs):
        picture = Picture(run.folder / "views.png")
        problem = picture.problem() if picture.path.is_file() else None
        if problem:
            data.notes.append(problem)
        if problem or not picture.path.is_file():
            missing.append(run.name)
        elif len(figures) < MOST:
            caption = f"{run.name}: the first step's views, an image a column and a view a row."
            alt = f"Grid of augmented views of training images of run {run.name}"
            figures.append(Figure(picture, f"views_{number}", alt, caption))
    blocks: list[Block] = [Figures(tuple(figures), min(2, len(figures)))] if figures else []
    if missing or not data.runs:
        blocks.append(Text(f"No picture of views: {', '.join(missing) or 'no pretraining run was found'}.", "note"))
    return blocks


SECTIONS = (Section("views", "Views that training saw", 50, build),)
