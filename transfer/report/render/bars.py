"""The report's first picture: for each evaluation a bar a network, with its spread; an SVG by templates/bars.svg.j2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

from transfer.report.collect.names import RANDOM
from transfer.report.collect.trials import Summary
from transfer.report.render.charts import COLOURS, TEMPLATES

WIDTH, TRACK, ROW, TITLE, GAP = 460, 300, 17, 19, 11  # of the picture, in its own units, about a pixel each
RANDOM_COLOUR = "var(--random)"  # of palette.css


@dataclass(frozen=True)
class Group:
    """One evaluation: title, and what each network reached, in percent, by the network's name."""

    title: str
    sides: dict[str, Summary]


@dataclass(frozen=True)
class Bars:
    """Evaluations side by side. key: file name and identity. networks: names, in the order of the legend."""

    key: str
    title: str
    networks: tuple[str, ...]
    groups: tuple[Group, ...]

    def in_words(self) -> str:
        """The picture for those who cannot see it: every number that it shows."""
        told = (
            f"{group.title}: " + ", ".join(f"{name} {side.text(1)}" for name, side in group.sides.items())
            for group in self.groups
        )
        return f"{self.title}. {'; '.join(told)}."

    def svg(self, in_file: bool = False) -> str:
        """The text of an SVG, which brings the colours of light and dark with it where it stands alone in a file."""
        made = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        template = made.from_string((TEMPLATES / "bars.svg.j2").read_text(encoding="utf-8"))
        palette = (TEMPLATES / "palette.css").read_text(encoding="utf-8") if in_file else ""
        return template.render(self._layout(), said=self.in_words(), palette=palette)

    def _layout(self) -> dict[str, Any]:
        """Places and lengths of everything, in the picture's units."""
        full = _full(self.groups)
        down, groups = len(self.networks) * ROW + GAP, []
        for group in self.groups:
            rows = []
            for place, (name, side) in enumerate(group.sides.items()):
                low, high = (side.mean + sign * (side.std or 0.0) for sign in (-1, 1))
                rows.append(
                    {
                        "y": down + TITLE + place * ROW,
                        "colour": self._colour(name),
                        "length": _within(side.mean, full),
                        "whisker": (_within(low, full), _within(high, full)) if side.std else (),
                        "text": side.text(1),
                    }
                )
            groups.append({"y": down, "title": group.title, "rows": rows})
            down += TITLE + len(rows) * ROW + GAP
        names = [(ROW * place, self._colour(name), name) for place, name in enumerate(self.networks)]
        return {"width": WIDTH, "track": TRACK, "height": down + ROW, "full": full, "groups": groups, "names": names}

    def _colour(self, name: str) -> str:
        trained = [network for network in self.networks if network != RANDOM]
        return RANDOM_COLOUR if name == RANDOM else COLOURS[trained.index(name) % len(COLOURS)]


def _full(groups: tuple[Group, ...]) -> int:
    """What a whole track stands for: the largest end of a whisker, rounded up to a ten."""
    most = max((side.mean + (side.std or 0.0) for group in groups for side in group.sides.values()), default=0.0)
    return max(10, math.ceil(most / 10) * 10)


def _within(value: float, full: int) -> float:
    return round(TRACK * min(max(value / full, 0.0), 1.0), 2)
