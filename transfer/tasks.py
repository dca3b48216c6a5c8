"""Every task that a result file may have: those of the evaluators, and detection's. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache

from transfer.evaluators import Task, evaluators

DETECTION = (  # of tools/train_detection.py, whose room nothing but the tools may open
    Task("detection", "Detection", order=200),
    Task("segmentation", "Instance segmentation", headline="segm", order=201),
    Task("semantic", "Semantic segmentation", order=202),
)
# Before each evaluator had options of its own, those of frozen rows wrote each other's into their result files.
FORMERLY_SHARED = frozenset({"k", "probe", "head", "held_out", "readings", "images"})


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name, in the order of reports."""
    every = [*(entry.task for entry in evaluators().values()), *DETECTION]
    return {task.name: task for task in sorted(every, key=lambda task: (task.order, task.name))}


def display_name(task: str) -> str:
    """What a report calls a task."""
    return tasks()[task].display_name


def headline(task: str, metrics: Sequence[str]) -> str:
    """The metric that stands for the others, of the names `metrics` of one result."""
    return next((name for name in metrics if tasks()[task].headline in name), metrics[0])


def shown_metrics(task: str, metrics: Sequence[str]) -> list[str]:
    """The metrics that a comparison of networks shows: all, or the headline alone."""
    return [headline(task, metrics)] if metrics and tasks()[task].headline_alone else list(metrics)


def unit(task: str, metric: str) -> str:
    """The unit of a metric."""
    return tasks()[task].units.get(metric, "%")


def is_better(task: str, metric: str, difference: float) -> bool:
    """Whether a number is better that is higher by `difference`: of most metrics more is, of errors less."""
    return difference < 0 if metric in tasks()[task].less else difference > 0


def foreign_settings(task: str) -> frozenset[str]:
    """Names of settings that an earlier result file of a task holds and that are other evaluators' options."""
    if task not in evaluators():
        return frozenset()
    return FORMERLY_SHARED - {one.name for one in fields(evaluators()[task].options)}
