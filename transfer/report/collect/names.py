"""What an evaluation is called where a protocol's whole name would be too long."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from transfer.tasks import tasks

Group = TypeVar("Group", bound=Hashable)

TASK_NAMES = {name: task.display_name for name, task in tasks().items()}
BETWEEN = re.compile(r"[,:;] (?![^()]*\))")  # what separates the settings in a protocol's name, outside of brackets


def distinctions(protocols: Iterable[tuple[Group, str]]) -> dict[tuple[Group, str], str]:
    """By (group, protocol) what tells a protocol from the others of its group, "" if it is alone.

    A protocol is a list of names and settings between commas, colons and semicolons. What all of a group share is left
    out, and of the rest no more is told than is needed.
    """
    together: dict[Group, list[str]] = {}
    for group, protocol in protocols:
        known = together.setdefault(group, [])
        known += [protocol] if protocol not in known else []
    words = {}
    for group, alike in together.items():
        parts = {protocol: BETWEEN.split(protocol) for protocol in alike}
        shared = set.intersection(*(set(of_one) for of_one in parts.values()))
        own = {protocol: [part for part in of_one if part not in shared] for protocol, of_one in parts.items()}
        for protocol, mine in own.items():
            words[group, protocol] = ", ".join(_enough(mine, [own[other] for other in alike if other != protocol]))
    return words


def _enough(mine: Sequence[str], others: Sequence[Sequence[str]]) -> Sequence[str]:
    """The fewest leading parts that no other begins with; all of them where that does not suffice."""
    lengths = range(1, len(mine) + 1)
    return next((mine[:many] for many in lengths if not any(other[:many] == mine[:many] for other in others)), mine)


def evaluation_name(task: str, distinction: str) -> str:
    """ "Few labels (SimCLR's 1 % list)", or the task alone where it has a single protocol."""
    return TASK_NAMES[task] + (f" ({distinction})" if distinction else "")
