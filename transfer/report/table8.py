"""Our detection numbers beside published ones: only where protocol, data, architecture and schedule are the same."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.report.compare import Summary, recipe_of
from transfer.report.document import Block, Heading, Table, Text
from transfer.report.found import Downstream, Found, PretrainingRun, finite
from transfer.report.published import TABLES, Published
from transfer.results import Result

TITLE = "Beside published numbers"
SAME = 0.01  # share by which numbers of images may differ: schedules are rounded, damaged images left out


def tables(found: Found) -> list[Block]:
    """Every published table that some result here belongs to by protocol and data, with our rows below its own.

    A result of the same protocol with another trunk, a shortened schedule or a part of the data is counted, not shown.
    """
    blocks: list[Block] = []
    for number, published in enumerate(TABLES):
        related = [entry for entry in found.results if not entry.superseded and _related(published, entry.result)]
        if not related:
            continue
        ours = [entry.result for entry in related if _same(published, entry.result)]
        blocks += [Heading(published.title, f"published-{number}", 3), _table(published, ours, found.runs)]
        left = [entry for entry in related if entry.result not in ours]
        if left:
            blocks.append(Text(_left_out(published, left), "note"))
    return [Heading(TITLE, "published"), *blocks] if blocks else []


def _related(published: Published, result: Result) -> bool:
    return (result.settings.get("protocol"), result.dataset) == (published.protocol, published.dataset)


def images_seen(result: Result) -> int:
    """Iterations times images of a step, 0 where the result does not tell."""
    return int(result.settings.get("iterations") or 0) * int(result.settings.get("images_per_step") or 0)


def _same(published: Published, result: Result) -> bool:
    held = (images_seen(result), *(result.counts.get(split, 0) for split in ("train", "val")))
    wanted = (published.images, *published.sizes)
    alike = all(abs(here / there - 1) <= SAME for here, there in zip(held, wanted, strict=True))
    return alike and result.arch == published.arch


def _table(published: Published, ours: Sequence[Result], runs: Sequence[PretrainingRun]) -> Table:
    by_recipe: dict[str, list[Result]] = {}
    for result in ours:
        recipe = "random initialisation" if result.init == "random" else recipe_of(result, runs)
        by_recipe.setdefault(f"here: {recipe}", []).append(result)
    rows = [(name, *(f"{value:.1f}" for value in values)) for name, values in published.rows.items()]
    for name, repeated in by_recipe.items():
        rows.append((name, *(_mean(repeated, metric) for metric in published.metrics)))
    caption = f"{published.protocol}. Published: {published.source}"
    columns = ("Pretraining", *published.metrics)
    return Table(caption, columns, tuple(rows), frozenset(range(1, len(columns))))


def _mean(repeated: Sequence[Result], metric: str) -> str:
    values = tuple(float(result.metrics[metric]) for result in repeated if finite(result.metrics.get(metric)))
    if not values:
        return "—"
    summary = Summary(values)
    spread = "" if summary.std is None else f" ± {summary.std:.1f}"
    return f"{summary.mean:.1f}{spread} (n={len(values)})"


def _left_out(published: Published, left: Sequence[Downstream]) -> str:
    kinds = dict.fromkeys(
        f"{entry.result.arch}, {images_seen(entry.result):,} images seen of {entry.result.counts.get('train', 0):,}"
        for entry in left
    )
    return (
        f"Not shown: {len(left)} result(s) with another trunk, schedule or part of the data ({'; '.join(kinds)}); the "
        f"published rows are of a {published.arch}, {published.images:,} images seen of {published.sizes[0]:,}."
    )
