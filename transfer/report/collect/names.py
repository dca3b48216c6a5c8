"""What recipes, runs, networks, data sets and evaluations are called in words."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pretrain import methods
from pretrain.runtime.files import natural_key
from pretrain.weights.hub.names import is_hub, shown
from transfer.report.collect.files import PretrainingRun, finite, flat
from transfer.results import Result
from transfer.tasks import display_name

RANDOM = "random initialisation"
BETWEEN = re.compile(r"[,:;] (?![^()]*\))")  # what separates the settings in a protocol's name, outside of brackets
MOST_SETTINGS = 3  # a run's name of more is a list, not a name


def method_name(name: object) -> str:
    """The method as its paper spells it, or as it is typed where its row does not say."""
    row = methods.ROWS.get(str(name))
    return row.title if row and row.title else str(name)


def recipe_name(run: PretrainingRun) -> str:
    """ "UniGrad+CutMix+multi-crop": the method and what the run adds to it, as the paper's Table 4 has it."""
    added = {"CutMix": run.setting("mixing.cutmix_alpha"), "multi-crop": run.setting("views.local_count")}
    method = method_name(run.setting("method.name", "unknown method"))
    start = run.setting("model.init")
    return "+".join([method, *(name for name, amount in added.items() if amount)]) + (
        f" from {images_name(start)}" if start else ""
    )


def arch_name(arch: str) -> str:
    """ "resnet18" as ResNet-18."""
    return re.sub(r"^resnet(\d+)$", r"ResNet-\1", arch)


def images_name(folder: object) -> str:
    """The last two folder names, such as imagenette/train; of weights on a hub their name and its revision."""
    if is_hub(folder):
        return shown(str(folder))
    return "/".join(Path(str(folder)).parts[-2:])


def evaluation_names(evaluations: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """By (task, ..., protocol) what an evaluation is called, such as "Few labels (SimCLR's 1 % list)".

    A protocol is a list of names and settings between commas, colons and semicolons. What it shares with all others of
    its task and what else stands before it is left out, and of the rest no more is told than tells it apart.
    """
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation[:-1], {})[evaluation[-1]] = BETWEEN.split(evaluation[-1])
    names = {}
    for group, parts in groups.items():
        shared = set.intersection(*map(set, parts.values()))
        own = {protocol: [part for part in of_one if part not in shared] for protocol, of_one in parts.items()}
        for protocol, mine in own.items():
            others = [own[other] for other in own if other != protocol]
            enough = (many for many in range(1, len(mine)) if not any(other[:many] == mine[:many] for other in others))
            words = ", ".join(mine[: next(enough, len(mine))])
            names[(*group, protocol)] = display_name(group[0]) + (f" ({words})" if words else "")
    return names


def numbered(name: str) -> Iterator[str]:
    """What results of one name are called that differ in their settings or in the number of their images."""
    yield name
    yield from (f"{name}, other settings or data {number}" for number in itertools.count(2))


def maker(runs: Sequence[PretrainingRun], result: Result) -> PretrainingRun | None:
    """The run that wrote a result's checkpoint, None if it is not among `runs`.

    By the folder that it was written in or lies in; else by the run folder as it was typed, since runs are moved.
    """
    written = str(result.pretraining.get("run") or "")
    for run in runs:
        if written == str(run.folder) or result.checkpoint.startswith(f"{run.folder}/"):
            return run
    typed = [(run, str(run.setting("run_dir") or "")) for run in runs]
    return next((run for run, name in typed if name and f"/{written}".endswith(f"/{name.lstrip('/')}")), None)


def recipe_of(result: Result, runs: Sequence[PretrainingRun]) -> str:
    """What was pretrained, in words: method and epochs, and the run's name where another recipe has the same words.

    Of a run that was not found the fingerprint of its recipe tells it from others. Earlier code wrote none: then it is
    the run that is named. A checkpoint that tells neither method nor step was not made by this repository, and is named
    by its file.
    """
    if result.init == "random":
        return RANDOM
    meta = result.pretraining
    if result.init == "starting":
        return f"starting weights {images_name(meta.get('init_file', ''))} {str(meta.get('init_sha256'))[:8]}"
    if not meta.get("method") and meta.get("step") is None:
        file = shown(result.checkpoint) if is_hub(result.checkpoint) else Path(result.checkpoint).name
        name = " ".join(filter(None, (file, result.checkpoint_sha256[:8])))
        return f"another project's {name or 'recipe'}"
    epoch = meta.get("epoch")
    length = f"{epoch:g} epochs" if finite(epoch) else f"step {meta.get('step', 'unknown')}"
    mine = maker(runs, result)
    if mine is None:
        recipe, run = meta.get("recipe"), meta.get("run")
        known = f"recipe {str(recipe)[:8]}" if recipe else images_name(run) if run else ""
        unknown = f" ({known}, run not found)" if known else ""
        return f"{method_name(meta.get('method') or 'unknown method')}, {length}{unknown}"
    first = {run.recipe(): run.name for run in reversed(runs) if recipe_name(run) == recipe_name(mine)}
    return f"{recipe_name(mine)}, {length}" + (f" ({first[mine.recipe()]})" if len(first) > 1 else "")


class NamedRun(NamedTuple):
    """A run with its name. style: place of the name among all, the same for every repetition of one recipe."""

    run: PretrainingRun
    name: str
    style: int


def name_runs(runs: Sequence[PretrainingRun]) -> list[NamedRun]:
    """The runs in the paper's order of methods, then by name, numbers in it by size.

    A run is called by its method and by what tells it from others of that method. Repetitions of one recipe (other
    seeds) share a name, unless that recipe is all there is: then the seed is it.
    """
    recipes: dict[str, list[PretrainingRun]] = {}
    for run in runs:
        recipes.setdefault(run.recipe(), []).append(run)
    if len(recipes) == 1 and len(runs) > 1:
        apart = len({run.setting("run.seed") for run in runs}) == len(runs)
        own = [f", seed {run.setting('run.seed')}" if apart else f" ({run.name})" for run in runs]
        named = [(recipe_name(run) + words, run) for run, words in zip(runs, own, strict=True)]
    else:
        texts = _names_of_recipes({recipe: alike[0] for recipe, alike in recipes.items()})
        times = {recipe: f" ({len(alike)} runs)" if len(alike) > 1 else "" for recipe, alike in recipes.items()}
        named = [(texts[recipe] + times[recipe], run) for recipe, alike in recipes.items() for run in alike]
    named.sort(key=lambda entry: (_place(entry[1]), natural_key(entry[0])))
    names = list(dict.fromkeys(text for text, _ in named))
    return [NamedRun(run, text, names.index(text)) for text, run in named]


def _names_of_recipes(recipes: dict[str, PretrainingRun]) -> dict[str, str]:
    """By recipe its method and the settings in which recipes of that method differ, or the run's name if many do."""
    names, settings = {}, {recipe: flat(json.loads(recipe)) for recipe in recipes}
    for recipe, run in recipes.items():
        others = [settings[other] for other in recipes if recipe_name(recipes[other]) == recipe_name(run)]
        words = []
        for key in sorted({key for other in others for key in other}):
            if len({str(other.get(key)) for other in others}) > 1:
                value = settings[recipe].get(key)
                said = "default" if value is None else f"{value:g}" if isinstance(value, float) else value
                words.append(f"{key.rpartition('.')[2].replace('_', ' ')} {said}")
        by_settings = ", ".join([recipe_name(run), *words])
        names[recipe] = by_settings if len(words) <= MOST_SETTINGS else f"{recipe_name(run)} ({run.name})"
    return names


def _place(run: PretrainingRun) -> tuple[object, ...]:
    """Place of the run's method in the paper; what is not in it comes last."""
    row = methods.ROWS.get(str(run.setting("method.name")))
    return (row.letter, row.table, row.name) if row else ("~",)
