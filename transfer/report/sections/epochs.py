"""Quality over epochs: what each export of a run was worth, with the best one marked."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.report.collect.names import arch_name, evaluation_names, name_runs, recipe_name
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Summary, Trials, group_trials
from transfer.report.render.charts import Chart, Line
from transfer.report.render.document import Block, block, note
from transfer.report.sections import Section, sentence
from transfer.results import TASKS
from transfer.tasks import headline, unit

IN_A_ROW = 2


def build(data: Collected) -> Iterator[Block]:
    """A chart for each evaluation of a run's exports at two epochs or more, and the best of each in words."""
    drawn = charts(data)
    if drawn:
        yield note(sentence("epochs", "how"))
        yield block("Charts", charts=drawn, columns=IN_A_ROW, legend="own")


def charts(data: Collected) -> list[Chart]:
    """Those charts, in the order of tasks. A line is a recipe; its trials at one epoch are averaged."""
    found: dict[tuple[str, str, str, str], dict[str, list[Trials]]] = {}
    for one in group_trials(data.results, data.runs):
        first = one.first
        told = first.pretraining.get("recipe") or first.pretraining.get("run")
        recipe = one.run.recipe() if one.run else str(told or "")
        if recipe and one.epochs is not None:
            key = first.task, first.dataset, first.arch, first.protocol
            found.setdefault(key, {}).setdefault(recipe, []).append(one)
    several = {
        key: [of for of in recipes.values() if len({one.epochs for one in of}) > 1] for key, recipes in found.items()
    }
    names, made = evaluation_names(key for key, of in several.items() if of), list[Chart]()
    for key in sorted((key for key in found if key in names), key=lambda key: (TASKS.index(key[0]), *key[1:])):
        task, dataset, arch, _ = key
        metric = headline(task, several[key][0][0].metrics())
        if lines := tuple(line for of in several[key] if (line := _line(data, of, metric))):
            meaning = f"{metric} on {dataset}, {arch_name(arch)}"
            made.append(Chart(f"epochs_{len(made)}", names[key], meaning, "epoch", unit(task, metric), lines))
    return made


def _line(data: Collected, of: list[Trials], metric: str) -> Line | None:
    """One recipe's values over epochs, None where it has none; the largest is the best one."""
    points = sorted((one.epochs or 0.0, value.mean) for one in of if (value := Summary.of(one.results, metric)))
    if not points:
        return None
    x, y = zip(*points, strict=True)
    trials, run = max(len(one.results) for one in of), of[0].run
    named = next((entry for entry in name_runs(data.runs) if entry.run is run), None)
    name = recipe_name(run) if run and trials > 1 else named.name if named else of[-1].recipe
    return Line(
        name + (f", mean of {trials} runs" if trials > 1 else ""), x, y, named.style if named else 0, y.index(max(y))
    )


SECTIONS = (Section("epochs", "Quality over epochs", 35, build),)
