"""What a step sends between ranks, and what a rank holds, from the shapes alone: nothing is run or allocated.

A form says itself what it sends and holds (pretrain/methods/collectives.py); the rest is the network's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from pretrain.config import Config, load
from pretrain.engine.learner import fill_balance, wire
from pretrain.engine.peak_memory import StepMemory, nbytes
from pretrain.engine.validate import ready
from pretrain.methods.collectives import DOUBLE, FLOAT, Sent, Shapes, norm_moments
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import Branch
from pretrain.runtime.errors import UserError

GLOBAL = 2  # global views of an image
FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20  # bytes at which DDP closes its first bucket of gradients, and later ones
NODES = (1, 2, 4, 8, 16, 32, 64, 128)
MEMORY = {"parameters": "parameters, buffers", "gradients": "gradients", "optimiser": "optimiser", "memory": "F, queue"}


@dataclasses.dataclass(frozen=True)
class Assumed:
    """inside, between: GB/s of a ring's slowest link in one node and between nodes; latency: µs; rate: images/s."""

    inside: float
    between: float
    latency: float
    rate: float


class StepCost:
    """What a configuration's step costs; its networks and its form have no storage (device "meta")."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = fill_balance(cfg)
        self.parts = 1 if cfg.optim.accumulate == "auto" else cfg.optim.accumulate
        self.memory = StepMemory(self.cfg)
        self.form, self.model = self.memory.form, self.memory.model
        self.targets, self.extra = self.memory.targets, self.memory.extra

    def sent(self, ranks: int) -> list[Sent]:
        """All of a step after the first, one that writes no line of metrics, on each of `ranks` ranks."""
        parts, narrow = self.parts, wire(self.cfg.run).itemsize
        clean = list(_moments(self.model.online, 0))
        seen = list(_moments(self.model.online, self.cfg.views.local_count))
        parameters = list(self.model.online.parameters())
        found = [
            Sent("gradients", "all_reduce", nbytes(parameters) * narrow // FLOAT, _buckets(parameters)),
            norm_moments("moments, target", clean * parts * (("momentum" in self.targets) + self.extra), DOUBLE),
            norm_moments("moments, online", seen * (1 if parts == 1 else 2 * parts), DOUBLE),
            norm_moments("moments, backward", seen * parts, FLOAT),
            *self.form.sent(self.shapes(ranks)),
        ]
        return [each for each in found if each.calls]

    def splits(self, ranks: int) -> bool:
        """Whether each of `ranks` ranks gets the same part of the batch, as a run asks."""
        return self.cfg.optim.batch_size % (ranks * self.parts) == 0

    def images(self, ranks: int) -> int:
        """How many images of the batch each of `ranks` ranks has.

        Raises:
            UserError: the batch does not split.
        """
        batch, parts = self.cfg.optim.batch_size, self.parts
        if not self.splits(ranks):
            raise UserError(
                f"optim.batch_size={batch} does not split into optim.accumulate={parts} equal parts on each of {ranks} "
                "processes: choose a multiple of their product."
            )
        return batch // ranks

    def shapes(self, ranks: int) -> Shapes:
        """The size of a step on each of `ranks` ranks."""
        return self.memory.shapes(self.images(ranks))

    def held(self, ranks: int) -> dict[str, int]:
        """Bytes on each of `ranks` ranks between two steps, and of a step's rows; activations are not among them."""
        return self.memory.held(self.images(ranks))


def _moments(branch: Branch, local: int) -> Iterator[int]:
    """Numbers in each collective of one pass: a norm's two moments of each channel, for each view apart.

    Local views share theirs in trunk and projector; a norm of the rows sees every view apart (Branch.forward).
    """
    for part in (branch.trunk, branch.projector):
        for norm in _norms_of(part):
            yield GLOBAL * 2 * norm.num_features
            if local:
                yield 2 * norm.num_features
    for norm in _norms_of(branch.normalisation):
        yield (GLOBAL + local) * 2 * norm.num_features


def _norms_of(module: nn.Module) -> list[ViewBatchNorm]:
    return [child for child in module.modules() if isinstance(child, ViewBatchNorm)]


def _buckets(parameters: list[nn.Parameter]) -> int:
    """Of gradients, which DDP fills from the last parameter on: each is closed once it has reached its size."""
    buckets, filled, limit = 0, 0, FIRST_BUCKET
    for parameter in reversed(parameters):
        filled += parameter.nbytes
        if filled >= limit:
            buckets, filled, limit = buckets + 1, 0, BUCKET
    return buckets + (filled > 0)


def total(sent: Iterable[Sent]) -> dict[tuple[str, str], tuple[int, int]]:
    """(bytes, calls) by kind and op."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for kind, op, size, calls in sent:
        before = sums.get((kind, op), (0, 0))
        sums[kind, op] = before[0] + size, before[1] + calls
    return sums


def tables(cost: StepCost, per_node: int, assumed: Assumed) -> str:
    """What is sent and what is held by the fewest ranks that the batch splits over, then each number of nodes.

    Raises:
        UserError: the batch splits over none of them, or there is one process only.
    """
    few = [ranks for nodes in NODES if (ranks := nodes * per_node) > 1 and cost.splits(ranks)]
    if not few:
        cost.images(per_node)
        raise UserError("one process sends nothing: choose --per-node above 1, or a batch that more can share.")
    sent, held = total(cost.sent(few[0])), cost.held(few[0])
    rows = [f"| {kind} | {op} | {size / 1e6:.2f} | {calls} |" for (kind, op), (size, calls) in sent.items()]
    named = ", ".join(f"{title} {held[name] / 1e6:.0f}" for name, title in MEMORY.items())
    return "\n".join(
        [
            f"Handed to collectives by a rank of {few[0]} in a step:\n",
            "| kind | op | MB | calls |\n|---|---|---|---|",
            *rows,
            f"\nHeld by every rank, in MB, without activations: {named}; and rows as below.\n",
            "| nodes | ranks | images a rank | rows MB | wire MB | calls | wire ms | latency ms | compute ms |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(cost, nodes, per_node, assumed) for nodes in NODES),
            f"\nAssumed, not measured: {assumed.inside:g} GB/s in a node, {assumed.between:g} GB/s between nodes, "
            f"{assumed.latency:g} µs a call, {assumed.rate:g} images/s a rank.",
        ]
    )


def _line(cost: StepCost, nodes: int, per_node: int, assumed: Assumed) -> str:
    ranks = nodes * per_node
    if not cost.splits(ranks):
        return f"| {nodes} | {ranks} | does not split |" + " |" * 6
    sent = cost.sent(ranks) if ranks > 1 else []
    wire, calls = sum(each.wire(ranks) for each in sent), sum(each.calls for each in sent)
    link = assumed.inside if nodes == 1 else assumed.between
    images, rows = cost.images(ranks), cost.held(ranks)["rows"]
    times = wire / link / 1e6, calls * assumed.latency / 1e3, images / assumed.rate * 1e3
    cells = [nodes, ranks, images, f"{rows / 1e6:.1f}", f"{wire / 1e6:.1f}", calls, *(f"{time:.1f}" for time in times)]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def step_cost(path: str | None, overrides: Sequence[str]) -> StepCost:
    """What a configuration costs. It is checked as that of a run; it needs neither folders nor a GPU.

    Raises:
        UserError: anything in it that a run refuses.
    """
    cfg = load(Config, path, overrides)
    run = dataclasses.replace(cfg.run, device="cpu", threads=0)
    ready(dataclasses.replace(cfg, run_dir="none", data=dataclasses.replace(cfg.data, root="none", workers=0), run=run))
    return StepCost(cfg)
