"""What a step of a row costs beside that of its peer, which lightly's own modules and losses make.

Network, views and batch are those of configs/compare/imagenette_evidence.yaml. The views are noise that is there
already, since both get them from the same loader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pretrain import config
from pretrain.augment.multicrop import Batch
from pretrain.engine.learner import Learner, build
from pretrain.runtime.repository import HOME
from pretrain.step import step
from tools.benchmarks import timing
from tools.benchmarks.timing import Spread
from tools.trials.peers.loop import Training
from tools.trials.peers.peer import find
from tools.trials.rows import find_rows, read_setting
from tools.trials.trial import make_trial

ROWS = HOME / "configs/pretrain/peers"
SETTING = HOME / "configs/compare/imagenette_evidence.yaml"
SCHEDULE = 100_000  # steps of the whole run that the timed ones are the middle of
NOWHERE = Path("nowhere")  # no image is read and nothing is written


@dataclass(frozen=True)
class Cost:
    """Images a second of a row and of its peer.

    ratio: of the two in each round, above 1 where ours is faster. gap: relative difference of the gradients of the
    trunk, at the same weights and views, the peer's divided by its factor.
    """

    row: str
    batch: int
    ours: Spread
    lightly: Spread
    ratio: Spread
    gap: float


def measure(repeats: int, steps: int, device: torch.device) -> Iterator[Cost]:
    """The costs of all rows with a peer, in the order of their names.

    Args:
        repeats: rounds, in which both take turns.
        steps: of each in a round.
        device: where they run.

    Raises:
        UserError: lightly is not installed.
    """
    setting = read_setting(SETTING, ROWS, {})
    for path in find_rows(ROWS, None):
        cfg = make_trial(path, setting, [], NOWHERE, NOWHERE, {}).cfg
        yield _cost(path.stem, cfg, repeats, steps, device)


def _cost(row: str, cfg: config.Config, repeats: int, steps: int, device: torch.device) -> Cost:
    """Of one row. The arguments are those of `measure`."""
    ours, theirs = build(cfg, device), Training(cfg, find(cfg), device)
    batch, images = _noise(cfg, device), steps * cfg.optim.batch_size
    gap = _gap(ours, theirs, batch)
    contenders = {
        "ours": partial(_several, steps, lambda: step(ours, batch, SCHEDULE // 2, SCHEDULE)),
        "lightly": partial(_several, steps, lambda: theirs(batch, SCHEDULE // 2, SCHEDULE)),
    }
    timing.take_turns(contenders, 1, device)  # what is allocated once
    times = timing.take_turns(contenders, repeats, device)
    rates = {name: timing.spread([images / one for one in taken]) for name, taken in times.items()}
    ratio = timing.faster(times["lightly"], times["ours"])
    return Cost(row, cfg.optim.batch_size, rates["ours"], rates["lightly"], ratio, gap)


def _several(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def _noise(cfg: config.Config, device: torch.device) -> Batch:
    """Two views of random bytes, their photometry done."""
    shape = (2, cfg.optim.batch_size, 3, cfg.views.size, cfg.views.size)
    crops = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batch((crops.to(device),), None, [])


def _gap(ours: Learner, theirs: Training, batch: Batch) -> float:
    """At a rate of 0, so that both have the same weights afterwards as well."""
    step(ours, batch, 0, SCHEDULE)
    theirs(batch, 0, SCHEDULE)
    pairs = zip(ours.model.online.trunk.parameters(), theirs.trunk.parameters(), strict=True)
    own, other = (torch.cat([one.grad.flatten() for one in of]).double() for of in zip(*pairs, strict=True))
    return float((own - other / theirs.gradient).norm() / own.norm())


HEADER = (
    f"{'row':<14} {'batch':>5}  {'ours, images/s':<24} {'lightly, images/s':<24} {'ours faster by':<20} "
    "gradients differ by"
)


def line(cost: Cost) -> str:
    """One line of the table under HEADER: medians with quartiles."""
    rates = f"{cost.ours.text(1, 0):<24} {cost.lightly.text(1, 0):<24} {cost.ratio.text(1, 2):<20}"
    return f"{cost.row:<14} {cost.batch:>5}  {rates} {cost.gap:.0e}"
