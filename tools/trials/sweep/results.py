"""What a sweep has found: OUT/sweep.json, sweep.csv and sweep.md, written anew whenever a trial ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from pretrain.runtime.files import write_json, write_text
from pretrain.runtime.options import options
from tools.trials.sweep.definition import Search
from tools.trials.sweep.storage import begun
from transfer.report.collect.sweeps import COMPLETE, FAILED, FILE, OPEN, PRUNED, Sweep, SweepRow, SweepTrial
from transfer.report.render.sweeps import all_rows, best_rows

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": OPEN}
WHY = "why"  # attribute of a trial: the sentence of its failure


def collect(searches: Sequence[Search], studies: Mapping[str, Study]) -> Sweep:
    """All rows and trials as they stand in the storage."""
    plan = searches[0].plan
    return Sweep(
        metric=plan.metric,
        sampler=plan.sampler.name,
        pruner=plan.pruner.name,
        setting=_sentence(searches),
        rows=tuple(_row(search) for search in searches),
        trials=tuple(
            _trial(search, name, frozen)
            for search in searches
            for name, frozen in begun(search.row, studies[search.row].get_trials()).items()
        ),
    )


def _row(search: Search) -> SweepRow:
    own = {one.name: one.default for one in options(search.plain.cfg)}
    ranges = {name: searched.plain() for name, searched in search.space.items()}
    return SweepRow(search.row, search.trials, {name: own[name] for name in search.space}, ranges)


def _trial(search: Search, name: str, frozen: FrozenTrial) -> SweepTrial:
    values = frozen.intermediate_values
    last = values[max(values)] if values else None
    value = frozen.value if frozen.state.name == "COMPLETE" else last
    why = str(frozen.user_attrs.get(WHY, ""))
    return SweepTrial(search.row, name, STATES[frozen.state.name], frozen.params, value, len(values), why)


def _sentence(searches: Sequence[Search]) -> str:
    """What all trials share, in words."""
    cfg, plan = searches[0].plain.cfg, searches[0].plan
    fixed = {
        "model.arch": cfg.model.arch,
        "views.size": f"views of {cfg.views.size} px",
        "optim.epochs": f"{cfg.optim.epochs} epochs",
        "optim.batch_size": f"batches of {cfg.optim.batch_size}",
        "run.seed": f"seed {cfg.run.seed}",
    }
    shared = [text for name, text in fixed.items() if all(name not in search.space for search in searches)]
    return f"{', '.join(shared)}; images of {searches[0].base.data.name}; the seed of the proposals is {plan.seed}."


def write(sweep: Sweep, searches: Sequence[Search]) -> str:
    """Write the three files; the Markdown."""
    out = searches[0].base.out
    best, every = best_rows(sweep), all_rows(sweep)
    parts = [sweep.setting, _markdown(best), _markdown(every)]
    text = "\n\n".join(parts) + "\n"
    write_json(out / FILE, sweep.plain())
    write_text(out / "sweep.csv", _csv(sweep))
    write_text(out / "sweep.md", text)
    return text


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    escaped = [{name: _in_a_cell(text) for name, text in row.items()} for row in rows]
    return tabulate(escaped, headers="keys", tablefmt="pipe", disable_numparse=True)


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _csv(sweep: Sweep) -> str:
    """A line a trial, every value in full."""
    text, names = io.StringIO(), sweep.options()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "trial", "state", *names, sweep.metric, "measurements", "why"])
    for trial in sweep.trials:
        values = [trial.params.get(name, "") for name in names]
        value = "" if trial.value is None else trial.value
        writer.writerow([trial.row, trial.name, trial.state, *values, value, trial.measurements, trial.why])
    return text.getvalue()
