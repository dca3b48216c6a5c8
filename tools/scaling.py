"""What a step sends and what a rank holds, from the shapes alone, for 1 to 128 nodes: nothing is run or allocated.

python tools/scaling.py --config configs/pretrain/unigrad_r50_100ep.yaml [section.key=value ...]

Bytes, numbers of collectives and memory are exact (tests/tools/test_scaling.py compares with gloo ranks).
Milliseconds follow from four assumptions, which are options, and are no measurement. docs/scaling.md reads the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.config import Config, load
from pretrain.engine.learner import build_form, fill_balance
from pretrain.engine.validate import ready
from pretrain.methods import find
from pretrain.methods.forms import (
    BarlowTwins,
    Contrastive,
    DirectPred,
    Predicted,
    SimCLRBothTerms,
    UniGrad,
    VICReg,
    VICRegL2,
)
from pretrain.methods.memory import CurrentBatch, FeatureCorrelation, NegativeQueue
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import Branch, Siamese
from pretrain.runtime.errors import UserError, run_tool

GLOBAL = 2  # global views of an image
FLOAT, DOUBLE = 4, 8  # bytes; every collective is in float32 but the moments of norms on their way forward
FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20  # bytes at which DDP closes its first bucket of gradients, and later ones
NODES = (1, 2, 4, 8, 16, 32, 64, 128)
MEMORY = {"parameters": "parameters, buffers", "gradients": "gradients", "optimiser": "optimiser", "memory": "F, queue"}


class Sent(NamedTuple):
    """What one rank hands to collectives in a step: kind, of what; op, all_reduce or all_gather; bytes of all calls."""

    kind: str
    op: str
    bytes: int
    calls: int

    def wire(self, ranks: int) -> float:
        """Bytes that a rank sends on a ring: 2 (R-1)/R of what is reduced, R-1 times its own part of what is gathered.

        The latter is (R-1)/R of the gathered whole.
        """
        return self.bytes * (2 * (ranks - 1) / ranks if self.op == "all_reduce" else ranks - 1)


@dataclasses.dataclass(frozen=True)
class Assumed:
    """inside, between: GB/s of a ring's slowest link in one node and between nodes; latency: µs; rate: images/s."""

    inside: float
    between: float
    latency: float
    rate: float


class Plan:
    """A configuration's networks and method, without storage (device "meta"); the method's memory is still empty."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = fill_balance(cfg)
        with torch.device("meta"):
            self.form = build_form(self.cfg)
            self.model = Siamese(**vars(cfg.model), normalisation=self.form.normalisation)
        own = find(cfg.method.name).targets
        asked = (cfg.method.positive_target, cfg.method.negative_target)
        self.targets = {given or default for given, default in zip(asked, own, strict=True)}
        self.width, self.views = cfg.model.projector_width, GLOBAL + cfg.views.local_count
        self.extra = "stop_gradient" in self.targets and bool(cfg.mixing.cutmix_alpha)  # clean views pass online, too

    def sent(self, ranks: int) -> list[Sent]:
        """All of a step after the first, one that writes no line of metrics, on each of `ranks` ranks."""
        parts, images = self.cfg.optim.accumulate, self.images(ranks)
        clean = list(_moments(self.model.online, 0))
        seen = list(_moments(self.model.online, self.cfg.views.local_count))
        parameters = list(self.model.online.parameters())
        found = [
            Sent("gradients", "all_reduce", _bytes(parameters), _buckets(parameters)),
            _norms("moments, target", clean * parts * (("momentum" in self.targets) + self.extra), DOUBLE),
            _norms("moments, online", seen * (1 if parts == 1 else 2 * parts), DOUBLE),
            _norms("moments, backward", seen * parts, FLOAT),
            *_sent_by(self.form, self.views, images, self.width),
        ]
        return [each for each in found if each.calls]

    def splits(self, ranks: int) -> bool:
        """Whether each of `ranks` ranks gets the same part of the batch, as a run asks."""
        return self.cfg.optim.batch_size % (ranks * self.cfg.optim.accumulate) == 0

    def images(self, ranks: int) -> int:
        """Of a rank's share of the batch.

        Raises:
            UserError: the batch does not split.
        """
        batch, parts = self.cfg.optim.batch_size, self.cfg.optim.accumulate
        if not self.splits(ranks):
            raise UserError(
                f"optim.batch_size={batch} does not split into optim.accumulate={parts} equal parts on each of {ranks} "
                "processes: choose a multiple of their product."
            )
        return batch // ranks

    def held(self, ranks: int) -> dict[str, int]:
        """Bytes on each of `ranks` ranks between two steps, and of a step's rows; activations are not among them."""
        learning = _bytes([*self.model.online.parameters(), *self.form.parameters()])
        momentum = self.cfg.optim.optimiser == "lars" or self.cfg.optim.momentum > 0
        branches = ("momentum" in self.targets) + self.extra
        return {
            "parameters": sum(_bytes([*part.parameters(), *part.buffers()]) for part in (self.model, self.form)),
            "gradients": learning,
            "optimiser": learning if momentum else 0,
            "memory": _remembered(self.form, self.cfg.optim.batch_size, self.width),
            "rows": (self.views + GLOBAL * branches) * self.images(ranks) * self.width * FLOAT,
        }


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


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


def _norms(kind: str, numbers: list[int], size: int) -> Sent:
    return Sent(kind, "all_reduce", sum(numbers) * size, len(numbers))


def _buckets(parameters: list[nn.Parameter]) -> int:
    """Of gradients, which DDP fills from the last parameter on: each is closed once it has reached its size."""
    buckets, filled, limit = 0, 0, FIRST_BUCKET
    for parameter in reversed(parameters):
        filled += parameter.nbytes
        if filled >= limit:
            buckets, filled, limit = buckets + 1, 0, BUCKET
    return buckets + (filled > 0)


def _sent_by(form: nn.Module, views: int, images: int, width: int) -> Iterator[Sent]:
    """A method's own collectives, of `views` online views of this rank's images (pretrain/methods/forms.py)."""
    rows = images * width * FLOAT
    match form:
        case UniGrad() | DirectPred():
            yield Sent("F", "all_reduce", width * width * FLOAT, 1)
        case Contrastive() | SimCLRBothTerms():
            yield Sent("rows", "all_gather", GLOBAL * rows, 1)
        case Predicted():
            numbers = [2 * norm.num_features for norm in _norms_of(form)] * views
            yield _norms("moments, online", numbers, DOUBLE)
            yield _norms("moments, backward", numbers, FLOAT)
            parameters = list(form.parameters())
            yield Sent("gradients", "all_reduce", _bytes(parameters), len(parameters))
        case BarlowTwins():
            diagonals = 0 if form.identity else views
            yield Sent("means", "all_reduce", diagonals * width * FLOAT, diagonals)
            yield Sent("rows", "all_gather", views * 2 * rows, views * 2)
        case VICReg() | VICRegL2():
            local = views - GLOBAL  # whose samples are those of both global views
            yield Sent("rows", "all_gather", (GLOBAL + local * GLOBAL) * rows, views)
            if isinstance(form, VICReg):
                yield Sent("rows", "all_gather", views * rows, views)
                yield Sent("means", "all_reduce", views * width * FLOAT, views)
        case _:
            raise AssertionError(f"what {type(form).__name__} sends is not written down here")


def _remembered(form: nn.Module, batch: int, width: int) -> int:
    """Bytes of a method's F, W and queue or gathered batch, and of the F behind the effective rank, which all have."""
    squares = 1 + sum(isinstance(child, FeatureCorrelation | DirectPred) for child in form.modules())
    samples = getattr(form, "samples", None)
    rows = GLOBAL * batch * isinstance(samples, CurrentBatch)
    rows += samples.size if isinstance(samples, NegativeQueue) else 0
    return (squares * width + rows) * width * FLOAT


def total(sent: Iterable[Sent]) -> dict[tuple[str, str], tuple[int, int]]:
    """(bytes, calls) by kind and op."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for kind, op, size, calls in sent:
        before = sums.get((kind, op), (0, 0))
        sums[kind, op] = before[0] + size, before[1] + calls
    return sums


def tables(plan: Plan, per_node: int, assumed: Assumed) -> str:
    """What is sent and what is held by the fewest ranks that the batch splits over, then each number of nodes.

    Raises:
        UserError: the batch splits over none of them, or there is one process only.
    """
    few = [ranks for nodes in NODES if (ranks := nodes * per_node) > 1 and plan.splits(ranks)]
    if not few:
        plan.images(per_node)
        raise UserError("one process sends nothing: choose --per-node above 1, or a batch that more can share.")
    sent, held = total(plan.sent(few[0])), plan.held(few[0])
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
            *(_line(plan, nodes, per_node, assumed) for nodes in NODES),
            f"\nAssumed, not measured: {assumed.inside:g} GB/s in a node, {assumed.between:g} GB/s between nodes, "
            f"{assumed.latency:g} µs a call, {assumed.rate:g} images/s a rank.",
        ]
    )


def _line(plan: Plan, nodes: int, per_node: int, assumed: Assumed) -> str:
    ranks = nodes * per_node
    if not plan.splits(ranks):
        return f"| {nodes} | {ranks} | does not split |" + " |" * 6
    sent = plan.sent(ranks) if ranks > 1 else []
    wire, calls = sum(each.wire(ranks) for each in sent), sum(each.calls for each in sent)
    link = assumed.inside if nodes == 1 else assumed.between
    images, rows = plan.images(ranks), plan.held(ranks)["rows"]
    times = wire / link / 1e6, calls * assumed.latency / 1e3, images / assumed.rate * 1e3
    cells = [nodes, ranks, images, f"{rows / 1e6:.1f}", f"{wire / 1e6:.1f}", calls, *(f"{time:.1f}" for time in times)]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def read(path: str | None, overrides: list[str]) -> Plan:
    """The plan of a configuration, checked as a run's is but for its folders and its device, which it has not.

    Raises:
        UserError: anything in it that a run refuses.
    """
    cfg = load(Config, path, overrides)
    run = dataclasses.replace(cfg.run, device="cpu", threads=0)
    ready(dataclasses.replace(cfg, run_dir="none", data=dataclasses.replace(cfg.data, root="none", workers=0), run=run))
    return Plan(cfg)


def positive(text: str) -> float:
    """A number above 0, for an option."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="YAML as tools/pretrain.py takes it")
    parser.add_argument("--per-node", type=int, default=8, help="ranks of a node (8)")
    parser.add_argument("--inside", type=positive, default=400.0, help="assumed GB/s in a node (400)")
    parser.add_argument("--between", type=positive, default=12.5, help="assumed GB/s of a node's link (12.5: 100 Gb/s)")
    parser.add_argument("--latency", type=positive, default=20.0, help="assumed µs a collective (20)")
    parser.add_argument("--rate", type=positive, default=1300.0, help="assumed images/s of a rank alone (1300)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="any option of pretrain/config.py")
    args = parser.parse_args(argv)
    if args.per_node < 1:
        raise UserError(f"--per-node={args.per_node} is too small: it must be at least 1.")
    assumed = Assumed(args.inside, args.between, args.latency, args.rate)
    print(tables(read(args.config, args.overrides), args.per_node, assumed))


if __name__ == "__main__":
    run_tool(main)
