"""Sections of the report, one file each: a file that is put into this folder, with SECTIONS, is in every report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Template

from pretrain.runtime.registry import collect
from transfer.report.collect.search import Collected
from transfer.report.render.document import Block
from transfer.report.render.pages import environment


class Section(NamedTuple):
    """A part of the report, without blocks where it has nothing to say. What it cannot read it adds to the notes."""

    anchor: str  # what links point to
    title: str  # "" for the report's opening, which has none
    order: int  # lower comes first
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
    return {name: environment().from_string(text) for name, text in words[section].items()}
