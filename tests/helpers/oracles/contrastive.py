"""MoCo, SimCLR, and SimCLR with both terms (Eq. 1)."""

from __future__ import annotations

from types import SimpleNamespace

from helpers.oracles.explicit import Rows, halves


def info_nce(u1: Rows, u2: Rows, samples: list[Rows], settings: SimpleNamespace) -> Rows:
    """Eq. 1: E[ -cos(u1, u2)/τ + λ log Σ_{v∈V} exp(cos(u1, v)/τ) ], for unit rows; the paper's λ is 1."""
    total = u1.new_zeros(())
    for row, other in zip(u1, u2, strict=True):
        everything = sum(((row * sample).sum() / settings.temperature).exp() for sample in samples)
        total = total - (row * other).sum() / settings.temperature + settings.balance * everything.log()
    return total / len(u1)


def moco(rows, targets, history, settings):
    """Eq. 1 with V_bank, the newest `queue_size` of all target rows seen."""
    seen = [row for step in history for row in step.flatten(0, 1)]
    bank = seen[-settings.queue_size :]
    return halves(lambda k: info_nce(rows[k], targets[1 - k], bank, settings))


def simclr(rows, targets, history, settings):
    """Eq. 1 with V_batch, all target rows of this step, detached."""
    batch = list(targets.flatten(0, 1))
    return halves(lambda k: info_nce(rows[k], targets[1 - k], batch, settings))


def simclr_both_terms(rows, targets, history, settings):
    """Eq. 1 with V_batch less u1, the targets being the learning rows themselves, not detached (gradient: Eq. 3)."""
    everyone = list(rows.flatten(0, 1))
    total, n = rows.new_zeros(()), rows.shape[1]
    for anchor, row in enumerate(everyone):
        positive = everyone[(anchor + n) % (2 * n)]
        others = [sample for index, sample in enumerate(everyone) if index != anchor]
        total = total + info_nce(row[None], positive[None], others, settings)
    return total / (2 * n)


ORACLES = {"moco": moco, "simclr": simclr, "simclr_both_terms": simclr_both_terms}
