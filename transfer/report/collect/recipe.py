"""Which pretraining a result's trunk comes from, and what it is called: numbers of two recipes never enter one mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from transfer.report.collect.names import method_name, recipe_name
from transfer.report.collect.search import Downstream, PretrainingRun, finite
from transfer.results import Result

Protocol = tuple[str, str, str, str]  # task, data set, protocol, network
Sides = dict[str, list[Downstream]]  # by what the trunk was: random, pretrained


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

    A run that was not found is named, since what else it was trained with is unknown; a checkpoint that tells neither
    method nor step was not made by this repository, and is named by its file.
    """
    meta = result.pretraining
    if not meta.get("method") and meta.get("step") is None:
        name = " ".join(filter(None, (Path(result.checkpoint).name, result.checkpoint_sha256[:8])))
        return f"another project's {name}" if name else "another project's recipe"
    epoch = meta.get("epoch")
    length = f"{epoch:g} epochs" if finite(epoch) else f"step {meta.get('step', 'unknown')}"
    mine = maker(runs, result)
    if mine is None:
        folder = "/".join(Path(str(meta.get("run") or "")).parts[-2:])
        unknown = f" ({folder}, not found)" if folder else ""
        return f"{method_name(meta.get('method') or 'unknown method')}, {length}{unknown}"
    method = recipe_name(mine)
    alike: dict[str, str] = {}
    for run in runs:
        if recipe_name(run) == method:
            alike.setdefault(run.recipe(), run.name)
    return f"{method}, {length}" + (f" ({alike[mine.recipe()]})" if len(alike) > 1 else "")


def by_recipe(found: Iterable[Downstream], runs: Sequence[PretrainingRun]) -> list[tuple[Protocol, str, Sides]]:
    """Results for each protocol and each recipe under it: {"random": those of all, "pretrained": its own}.

    The recipe is "" where a protocol has random results alone. What a newer file supersedes does not count.
    """
    groups: dict[Protocol, dict[str, list[Downstream]]] = {}
    for entry in found:
        one = entry.result
        if not entry.superseded:
            recipe = "" if one.init == "random" else recipe_of(one, runs)
            group = groups.setdefault((one.task, one.dataset, one.protocol, one.arch), {})
            group.setdefault(recipe, []).append(entry)
    each = []
    for protocol, group in groups.items():
        random = group.pop("", [])
        sides = sorted(group.items()) or [("", [])]
        each += [(protocol, recipe, {"random": random, "pretrained": own}) for recipe, own in sides]
    return each
