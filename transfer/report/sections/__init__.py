"""Sections of the report, one file each: a file that is put into this folder, with SECTIONS, is in every report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from pretrain.runtime.registry import collect
from transfer.report.collect.names import arch_name, images_name, recipe_name
from transfer.report.collect.runs import finite
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import days_text
from transfer.report.render.document import Block
from transfer.tasks import display_name

JINJA = Environment(undefined=StrictUndefined)  # a name that is missing is an error
JINJA.globals |= {
    function.__name__: function for function in (arch_name, days_text, display_name, finite, images_name, recipe_name)
}
JINJA.filters["recorded"] = lambda value: value or "not recorded"


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        anchor: what links point to.
        title: its heading; "" for the report's opening, which has none.
        order: where it stands; lower comes first.
        build: from what was collected to its blocks, none where there is nothing to say. What it cannot read it adds to
            the collected notes.
    """

    anchor: str
    title: str
    order: int
    build: Callable[[Collected], Iterable[Block]]


def sections() -> list[Section]:
    """All of them, in the order in which a reader meets them."""
    return sorted((one for group in collect(__name__, "SECTIONS") for one in group), key=lambda one: one.order)


def sentence(section: str, name: str, /, **known: Any) -> str:
    """One text of a section, on one line."""
    return " ".join(_templates(section)[name].render(known).split())


def cells(section: str, /, **known: Any) -> dict[str, str]:
    """The texts of a section's table by column, or of its box by fact."""
    return {name: template.render(known) for name, template in _templates(section).items()}


@cache
def _templates(section: str) -> dict[str, Template]:
    words = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
    return {name: JINJA.from_string(text) for name, text in words[section].items()}
