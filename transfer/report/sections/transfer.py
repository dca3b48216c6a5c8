"""Transfer to many data sets: a table a protocol, a column a data set, and whether networks can be told apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from statistics import fmean

from transfer.protocol import NONE
from transfer.report.collect.names import arch_name
from transfer.report.collect.pairs import FEW, compared, paired
from transfer.report.collect.search import Collected
from transfer.report.collect.trials import ABSENT, Summary, Trials, group_trials
from transfer.report.published.tables import PublishedTable, published_tables, transfer_protocol
from transfer.report.render.document import Block, heading, note, table
from transfer.report.sections import Section, sentence
from transfer.tasks import tasks

NETWORK, RANK = "Network and pretraining", "Mean rank"
Cells = dict[str, dict[str, Trials]]  # by network, then by data set


def build(data: Collected) -> Iterator[Block]:
    """A table for each protocol, with the published rows of the same protocol, and one of all pairs."""
    ours = [one for one in group_trials(data.results, data.runs) if tasks()[one.first.task].suite]
    groups: dict[tuple[str, str], list[Trials]] = {}
    for one in ours:
        groups.setdefault((one.first.task, key_of(one)), []).append(one)
    if groups:
        yield note(sentence("transfer", "how"))
    for number, ((task, key), together) in enumerate(sorted(groups.items())):
        known = [one for one in published_tables("transfer") if (one.task, one.setting.protocol) == (task, key)]
        yield heading(transfer_protocol(together[0].first)[0], f"transfer-{number}")
        yield from _tables(together, known)


def key_of(one: Trials) -> str:
    """What results must share to stand in one table: the protocol's name; without a reference every setting too."""
    name, reference = transfer_protocol(one.first)
    return name if reference != NONE else f"{name}: {_own(one)}"


def _own(one: Trials) -> str:
    """The part of a protocol's name that says the settings, without what the data set chose."""
    parts = (one.first.protocol.partition("): ")[2] or one.first.protocol).split(", ")
    return ", ".join(part for part in parts if not part.startswith("chosen on"))


def _tables(together: Sequence[Trials], known: Sequence[PublishedTable]) -> Iterator[Block]:
    cells: Cells = {}
    for one in together:
        cells.setdefault(one.network, {}).setdefault(one.first.dataset, one)
    sets = _in_order({one.first.dataset for one in together}, known)
    metrics = {name: next(row[name] for row in cells.values() if name in row).metrics()[0] for name in sets}
    titles = {name: f"{name}, {metric}" for name, metric in metrics.items()}
    ranks = mean_ranks(cells, sets, metrics)
    rows = []
    for network, row in sorted(cells.items(), key=lambda entry: (ranks.get(entry[0], 0.0), entry[0])):
        values = {titles[name]: row[name].cell(metrics[name]) if name in row else ABSENT for name in sets}
        rows.append({NETWORK: network, RANK: f"{ranks[network]:.1f}" if network in ranks else ABSENT} | values)
    for published in known:
        for line in published.rows:
            numbers = dict(zip(published.metrics, line.values, strict=True))
            epochs = f", {line.epochs} epochs" if line.epochs else ""
            name = f"published: {line.name}, {arch_name(published.setting.arch)}{epochs}"
            rows.append({NETWORK: name} | {titles[one]: f"{numbers[one]:.1f}" for one in sets if one in numbers})
    name, reference = transfer_protocol(together[0].first)
    yield table(sentence("transfer", "caption", name=name, reference=reference), rows, [RANK, *titles.values()])
    yield note(sentence("transfer", "protocol", protocols=sorted({_own(one) for one in together}), known=known))
    if pairs := list(_pairs(cells, sets, metrics, ranks)):
        yield table(sentence("transfer", "pairs", few=FEW, networks=len(cells)), pairs, ("Difference",), merged=1)


def _in_order(names: set[str], known: Sequence[PublishedTable]) -> list[str]:
    """The data sets in the published order, then by name."""
    order = [metric for one in known or published_tables("transfer") for metric in one.metrics]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def mean_ranks(cells: Cells, sets: Sequence[str], metrics: dict[str, str]) -> dict[str, float]:
    """The mean place of each network over the data sets that all of them have; equal numbers share their places.

    Returns: none where there is a single network, or no such data set.
    """
    shared = [name for name in sets if all(name in row for row in cells.values())]
    if len(cells) < 2 or not shared:
        return {}
    places: dict[str, list[float]] = {network: [] for network in cells}
    for name in shared:
        means = {network: _mean(row[name], metrics[name]) for network, row in cells.items()}
        for network, mean in means.items():
            above = sum(other > mean for other in means.values())
            places[network].append(1 + above + (sum(other == mean for other in means.values()) - 1) / 2)
    return {network: fmean(values) for network, values in places.items()}


def _mean(one: Trials, metric: str) -> float:
    summary = Summary.of(one.results, metric)
    return summary.mean if summary else float("-inf")


def _pairs(
    cells: Cells, sets: Sequence[str], metrics: dict[str, str], ranks: dict[str, float]
) -> Iterator[dict[str, str]]:
    """Every pair of networks on every data set; of more than FEW networks each with the first one."""
    networks = sorted(cells, key=lambda network: (ranks.get(network, 0.0), network))
    for name, (first, second) in itertools.product(sets, paired(networks)):
        if name in cells[first] and name in cells[second]:
            yield {"Data": name, "Networks": f"{first} against {second}"} | compared(
                cells[first][name], cells[second][name], metrics[name]
            )


SECTIONS = (Section("transfer", "Transfer to other data sets", 65, build),)
