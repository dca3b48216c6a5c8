"""How GPUs are asked for: `4`, `a100:4`, and the ways in which a scheduler's own options count them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import NamedTuple

from pretrain.runtime.errors import UserError

MOST = 1024  # of a node
PER_NODE = ("gres", "gpus-per-node")
IN_ALL = "gpus"
APART = ("gpus-per-task", "gpus-per-socket", "tres-per-task", "ntasks-per-gpu")  # a rank sees no GPU but its own


class Gpus(NamedTuple):
    """GPUs of a node. kind: as the cluster calls them; empty takes any."""

    count: int  # type: ignore[assignment] # hides tuple.count, which nobody asks
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.count}" if self.kind else str(self.count)


def gpus_argument(text: str) -> Gpus:
    """`4` or `a100:4`."""
    match = re.fullmatch(r"(?:([A-Za-z][\w.-]*):)?(\d{1,6})", text)
    if not match or int(match[2]) > MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number of GPUs, at most {MOST}, nor TYPE:NUMBER")
    return Gpus(int(match[2]), match[1] or "")


def gpus_in(extra: Mapping[str, str | bool], nodes: int) -> int | None:
    """GPUs of a node that options of the scheduler ask for; None where they say nothing of GPUs.

    Args: extra: values by the option's name. nodes: of the job, which share what is asked for in all.

    Raises:
        UserError: a way of asking that leaves each rank a GPU of its own only, or a number that nodes cannot share.
    """
    for key in APART:
        if key in extra and (key != "tres-per-task" or "gpu" in str(extra[key])):
            raise UserError(f"--slurm {key}={extra[key]} hides a rank's GPU from the others: use --gpus N or TYPE:N.")
    counts = [_counted(key, str(extra[key])) for key in PER_NODE if key in extra]
    found = [count for count in counts if count is not None]
    if IN_ALL in extra:
        total = _counted(IN_ALL, str(extra[IN_ALL])) or 0
        if total % nodes:
            raise UserError(f"--slurm gpus={extra[IN_ALL]} cannot be shared equally by --nodes {nodes}: ask by --gpus.")
        found.append(total // nodes)
    if len(set(found)) > 1:
        raise UserError(f"--slurm asks for {' and for '.join(map(str, found))} GPUs a node: keep one of them.")
    return found[0] if found else None


def _counted(key: str, text: str) -> int | None:
    """The sum over `gpu:a100:2,gpu:4,shard:1` of gres, or over `a100:2,4` of the others."""
    found = []
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        words = re.split("[:/=]", item.removeprefix("gres:").removeprefix("gres/"))
        if key == "gres" and words.pop(0) != "gpu":
            continue
        found.append(int(words[-1]) if words and words[-1].isdecimal() else 1)
    return sum(found) if found else None
