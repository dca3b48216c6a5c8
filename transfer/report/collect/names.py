"""What methods, recipes, networks, data sets and evaluations are called in words."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import yaml

from transfer.report.collect.search import PretrainingRun
from transfer.tasks import display_name

Group = TypeVar("Group", bound=Hashable)

# as their papers spell them, in the order of the paper; a method that is not there is called as it is typed
METHODS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "method_names.yaml").read_text(encoding="utf-8"))
BETWEEN = re.compile(r"[,:;] (?![^()]*\))")  # what separates the settings in a protocol's name, outside of brackets


def method_name(name: object) -> str:
    """The method as its paper spells it."""
    return METHODS.get(str(name), str(name))


def recipe_name(run: PretrainingRun) -> str:
    """ "UniGrad+CutMix+multi-crop": the method and what the run adds to it, as the paper's Table 4 has it."""
    added = {"CutMix": run.setting("mixing.cutmix_alpha"), "multi-crop": run.setting("views.local_count")}
    method = method_name(run.setting("method.name", "unknown method"))
    return "+".join([method, *(name for name, amount in added.items() if amount)])


def arch_name(arch: str) -> str:
    """ "resnet18" as ResNet-18."""
    return re.sub(r"^resnet(\d+)$", r"ResNet-\1", arch)


def images_name(run: PretrainingRun) -> str:
    """The last two folder names of data.root, such as imagenette/train."""
    return "/".join(Path(str(run.setting("data.root", "unknown images"))).parts[-2:])


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
    return display_name(task) + (f" ({distinction})" if distinction else "")
