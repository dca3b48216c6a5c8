"""What a run is called where several are drawn together: its method, and what tells it from others of that method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pretrain.runtime.files import natural_key
from transfer.report.collect.names import METHODS, recipe_name
from transfer.report.collect.search import PretrainingRun

MOST_SETTINGS = 3  # a name of more is a list, not a name


@dataclass(frozen=True)
class NamedRun:
    """A run with its name. style: place of the name among all, the same for every repetition of one recipe."""

    run: PretrainingRun
    name: str
    style: int


def name_runs(runs: Sequence[PretrainingRun]) -> list[NamedRun]:
    """The runs in the paper's order of methods, then by name, numbers in it by size.

    Repetitions of one recipe (other seeds) share a name, unless that recipe is all there is: then the seed is it.
    """
    recipes: dict[str, list[PretrainingRun]] = {}
    for run in runs:
        recipes.setdefault(run.recipe(), []).append(run)
    named = _repetitions(runs) if len(recipes) == 1 and len(runs) > 1 else _recipes(recipes)
    named.sort(key=lambda entry: (_place(entry[1]), natural_key(entry[0])))
    names = list(dict.fromkeys(text for text, _ in named))
    return [NamedRun(run, text, names.index(text)) for text, run in named]


def _repetitions(runs: Sequence[PretrainingRun]) -> list[tuple[str, PretrainingRun]]:
    seeds = [run.setting("run.seed") for run in runs]
    apart = len(set(seeds)) == len(seeds)
    return [
        (f"{recipe_name(run)}, seed {seed}" if apart else f"{recipe_name(run)} ({run.name})", run)
        for run, seed in zip(runs, seeds, strict=True)
    ]


def _recipes(recipes: dict[str, list[PretrainingRun]]) -> list[tuple[str, PretrainingRun]]:
    settings = {recipe: flat(json.loads(recipe)) for recipe in recipes}
    named = []
    for recipe, alike in recipes.items():
        method = recipe_name(alike[0])
        others = [settings[other] for other in recipes if recipe_name(recipes[other][0]) == method]
        names = sorted({name for other in others for name in other})
        differing = [name for name in names if len({str(other.get(name)) for other in others}) > 1]
        words = ", ".join([method, *(_said(name, settings[recipe].get(name)) for name in differing)])
        text = words if len(differing) <= MOST_SETTINGS else f"{method} ({alike[0].name})"
        times = f" ({len(alike)} runs)" if len(alike) > 1 else ""
        named += [(text + times, run) for run in alike]
    return named


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"section.key": value} of all leaves."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return leaves


def _said(name: str, value: Any) -> str:
    """ "projector width 1024"."""
    words = name.rpartition(".")[2].replace("_", " ")
    return f"{words} {'default' if value is None else f'{value:g}' if isinstance(value, float) else value}"


def _place(run: PretrainingRun) -> int:
    """Place of the run's method in the paper; what is not in it comes last."""
    name = run.setting("method.name")
    return list(METHODS).index(name) if name in METHODS else len(METHODS)
