"""The words of sections: templates of words.yaml, filled with what was collected."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from transfer.report.collect.names import arch_name, images_name, recipe_name
from transfer.report.collect.runs import finite
from transfer.report.collect.trials import days_text
from transfer.tasks import display_name

JINJA = Environment(undefined=StrictUndefined)  # a name that is missing is an error
JINJA.globals |= {
    function.__name__: function for function in (arch_name, days_text, display_name, finite, images_name, recipe_name)
}
JINJA.filters["recorded"] = lambda value: value or "not recorded"


def sentence(section: str, name: str, **known: Any) -> str:
    """One text of a section, on one line."""
    return " ".join(_templates(section)[name].render(known).split())


def cells(section: str, **known: Any) -> dict[str, str]:
    """The texts of a section's table by column, or of its box by fact."""
    return {name: template.render(known) for name, template in _templates(section).items()}


@cache
def _templates(section: str) -> dict[str, Template]:
    words = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
    return {name: JINJA.from_string(text) for name, text in words[section].items()}
