"""Pretrained networks against each other, by the headline of each evaluation that both of them had."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.report.collect.names import RANDOM, evaluation_names
from transfer.report.collect.pairs import FEW, compared, paired
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import Summary, Trials, group_trials, of_last_epochs
from transfer.report.render.document import Block, table
from transfer.report.sections import Section, sentence
from transfer.results import TASKS
from transfer.tasks import headline, tasks


def build(data: Collected) -> Iterator[Block]:
    """A row for each two networks and each evaluation; suites have theirs in the section of transfer."""
    groups: dict[tuple[str, str, str], dict[str, Trials]] = {}
    for one in group_trials(of_last_epochs(data.results), data.runs):
        told = one.first
        if one.recipe != RANDOM and not tasks()[told.task].suite:
            groups.setdefault((told.task, told.dataset, told.protocol), {}).setdefault(one.network, one)
    names = evaluation_names((task, protocol) for task, _, protocol in groups)
    rows = []
    for key in sorted(groups, key=lambda key: (TASKS.index(key[0]), key[1:])):
        task, dataset, protocol = key
        cells, metrics = groups[key], [one.metrics() for one in groups[key].values()]
        metric = headline(task, metrics[0]) if metrics[0] else ""
        means = {
            network: summary.mean for network, one in cells.items() if (summary := Summary.of(one.results, metric))
        }
        for first, second in paired(sorted(means, key=lambda network: (-means[network], network))):
            about = {"Evaluation": names[task, protocol], "Data": dataset, "Networks": f"{first} against {second}"}
            rows.append(about | compared(cells[first], cells[second], metric))
    if rows:
        yield table(sentence("pairs", "caption", few=FEW), rows, ("Difference",), merged=1)


SECTIONS = (Section("pairs", "Pretrained networks against each other", 62, build),)
