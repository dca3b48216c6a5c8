"""VICReg, row i, and row j: decorrelation by the correlation of each view with itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from pretrain.gradients import attract, repel_cross, spread
from pretrain.methods.collectives import Sent, Shapes, gathered_rows, reduced_means
from pretrain.methods.row import POSITIVE_MOMENTUM, GradientForm, Row
from pretrain.runtime import distributed
from pretrain.runtime.options import FIXED, option


@dataclass
class Options:
    """Of row i. C/2 is VICReg's own weight beside its distance, 25 to 25, halved over the views, in Eq. 10's scale
    (provenance: assumed)."""

    variance: float | None = option(
        None, "λ2, weight of the hinge on the deviation; unset is C/2", at_least=0, resume=FIXED
    )
    gamma: float = option(1.0, "γ, the standard deviation that the hinge asks for", at_least=0, resume=FIXED)


class VICReg(GradientForm):
    """Row i: dL/du1 = 2 (-u2 + λ Σ_{v∈V_batch} (ũ1·ṽ1 / N) ṽ1 + u1 - λB ũ1) (Eq. 11), ~ less the batch's mean.

    Its positive gradient holds the whole last bracket of Eq. 11, the deviation term, which reads u1 alone.

    Args: variance, λ2, weight of the hinge on the standard deviation; None is C/2. gamma, γ, the deviation it asks for.
    """

    normalisation, scale, row_by_row = "none", 2.0, False

    def __init__(self, balance: float, variance: float | None, gamma: float) -> None:
        super().__init__()
        self.balance, self.variance, self.gamma = balance, variance, gamma

    def observe(self, samples: torch.Tensor) -> None:
        self.samples = samples

    def dropped(self, u1: torch.Tensor) -> torch.Tensor:
        """What row j leaves out: u1 - λB ũ1 (Eq. 11, λ times its last bracket), (n, C)."""
        gathered = distributed.all_gather(u1)
        mean = gathered.mean(0)
        variance = u1.shape[1] / 2 if self.variance is None else self.variance
        return u1 - (u1 - mean) * spread(gathered - mean, self.balance, variance, self.gamma)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2) + self.dropped(u1)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        rows = _samples_of(view, self.samples)
        centred = rows - rows.mean(0)
        return repel_cross(u1 - distributed.all_mean(u1.mean(0)), centred, centred)

    def figure_3(self, u1: torch.Tensor, u2: torch.Tensor) -> dict[str, torch.Tensor]:
        """How nearly radial the term is that row j leaves out: Figure 3 d."""
        return {"vicreg_dropped_cosine": functional.cosine_similarity(self.dropped(u1), u1, dim=-1).mean()}

    def sent(self, shapes: Shapes) -> list[Sent]:
        """The samples of each view, then its online rows and their mean, of which the dropped term is made."""
        return [_samples_sent(shapes), gathered_rows(shapes, shapes.views), reduced_means(shapes, shapes.views)]


class VICRegL2(GradientForm):
    """Row j: dL/du1 = 2 (-u2 + λ Σ_{v∈V_batch} (u1·v1 / N) v1): row i on unit rows, not centred, without deviation."""

    normalisation, scale, row_by_row = "l2", 2.0, False

    def __init__(self, balance: float) -> None:
        super().__init__()
        self.balance = balance

    def observe(self, samples: torch.Tensor) -> None:
        self.samples = samples

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        rows = _samples_of(view, self.samples)
        return repel_cross(u1, rows, rows)

    def sent(self, shapes: Shapes) -> list[Sent]:
        return [_samples_sent(shapes)]


def _samples_of(view: int, samples: torch.Tensor) -> torch.Tensor:
    """(M, C) of all ranks: the samples (G, n, C) of the view itself, or of all G where it is a local crop."""
    return distributed.all_gather(samples[view] if view < len(samples) else samples.flatten(0, 1))


def _samples_sent(shapes: Shapes) -> Sent:
    """What `_samples_of` every view sends."""
    local = shapes.views - shapes.global_views
    return gathered_rows(shapes, shapes.views, views=shapes.global_views + local * shapes.global_views)


ROWS = (
    Row("vicreg", "i", VICReg, Options, balance=4e-5, grows=-1, targets=POSITIVE_MOMENTUM, title="VICReg"),
    Row("vicreg_l2", "j", VICRegL2, balance=25.0, grows=1, targets=POSITIVE_MOMENTUM, title="VICReg (l2)"),
)
