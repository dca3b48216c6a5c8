"""The peak of a rank's device memory as a table, and the fewest parts of a batch that fit into it."""

from __future__ import annotations

from pretrain.engine.peak_memory import GIB, WORKSPACE, fewest_parts
from tools.benchmarks.step_cost import NODES, StepCost

TITLES = ("between steps", "views", "kept by autograd", "passing")


def table(cost: StepCost, per_node: int, gib: float) -> str:
    """A line for every number of nodes, with optim.accumulate as it is, or the fewest parts that fit where it is auto.

    Args: cost, of a configuration; per_node, ranks of a node; gib, of a device's memory.
    """
    lines = [line for nodes in NODES if (line := _line(cost, nodes, per_node, gib))]
    return "\n".join(
        [
            f"GiB on each rank at the fullest moment of a step, before it is compiled; a device has {gib:g}.\n",
            f"| nodes | ranks | images a rank | parts | {' | '.join(TITLES)} | together | fewest parts that fit |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *lines,
            f"\nTogether with {WORKSPACE / GIB:g} GiB for CUDA's context, workspaces and what the allocator splits, "
            "which is assumed. The rest follows from shapes.",
        ]
    )


def _line(cost: StepCost, nodes: int, per_node: int, gib: float) -> str:
    images, rest = divmod(cost.cfg.optim.batch_size, nodes * per_node)
    if rest or not images:
        return ""
    fewest = fewest_parts(cost.memory, images, gib * GIB)
    parts = cost.parts if cost.cfg.optim.accumulate != "auto" else fewest or 1
    if images % parts:
        return ""
    peak = cost.memory.peak(images, parts)
    sizes = (peak.held, peak.inputs, peak.kept, peak.passing, peak.total)
    told = fewest if fewest else "none"
    cells = [nodes, nodes * per_node, images, parts, *(f"{size / GIB:.1f}" for size in sizes), told]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
