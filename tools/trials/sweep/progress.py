"""What a trial's run has measured so far, told to Optuna in its order, and what Optuna decides by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.engine.monitor.metrics_file import read_lines
from tools.run_folders.overview import ALONG
from transfer.report.collect.files import finite

if TYPE_CHECKING:
    from optuna.trial import Trial as Proposal

PRUNED = "pruned_after"  # attribute of a trial: the number of the measurement after which it was to end


@dataclass(frozen=True)
class Measured:
    """One measurement of a run. number: counts from 1; last: whether the run has no step after it."""

    number: int
    value: float
    last: bool


def measurements(run_dir: Path, metric: str) -> list[Measured]:
    """All that a run has written of a metric of ALONG."""
    lines = [line for line in read_lines(run_dir) if finite(line.get(ALONG[metric]))]
    return [
        Measured(number, float(line[ALONG[metric]]), line["step"] >= line.get("steps", float("inf")))
        for number, line in enumerate(lines, 1)
    ]


def tell(proposal: Proposal, found: list[Measured]) -> bool:
    """Report what was not reported yet, one after the other; whether the trial is to end early.

    A decision once taken stands, also where the process that took it was killed before the run had ended. The last
    measurement of a run ends nothing.
    """
    frozen = proposal.study.get_trials(deepcopy=False)[proposal.number]
    if PRUNED in frozen.user_attrs:
        return True
    for one in found:
        if one.number in frozen.intermediate_values:
            continue
        proposal.report(one.value, one.number)
        if not one.last and proposal.should_prune():
            proposal.set_user_attr(PRUNED, one.number)
            return True
    return False
