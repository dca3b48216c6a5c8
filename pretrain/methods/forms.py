"""The forms behind Table 2: each says in two lines which gradients of `pretrain.gradients` it is made of.

A form is asked for one online view at a time; see `pretrain.methods.GradientForm` for what each method means.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pretrain.gradients import (
    attract,
    attract_through,
    direct_predictor,
    repel_as_sample,
    repel_correlation,
    repel_cross,
    repel_softmax,
    spread,
    twice_predicted,
)
from pretrain.methods.memory import CurrentBatch, FeatureCorrelation, NegativeQueue, adopt_shapes
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError


class Contrastive(nn.Module):
    """Rows a, b: dL/du1 = 1/τ (-u2 + Σ_{v∈V} s_v v) (Eq. 2, 4), V the bank (MoCo) or the batch (SimCLR).

    V holds the samples of both views, u1's own among them, as in the official code; that one is nearly radial.

    Args: samples, V; temperature, τ.
    """

    normalisation, row_by_row = "l2", True

    def __init__(self, samples: CurrentBatch | NegativeQueue, temperature: float, balance: float) -> None:
        super().__init__()
        _check_positive(temperature=temperature)
        self.samples, self.temperature, self.balance, self.scale = samples, temperature, balance, 1 / temperature

    def observe(self, samples: torch.Tensor) -> None:
        self.samples.update(samples)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_softmax(u1, self.samples.rows, self.temperature, self.samples.excluded)


class SimCLRBothTerms(nn.Module):
    """Table 6: SimCLR whose target is not detached, so that u1 also learns as a sample of the others (Eq. 3).

    dL/du1 = 1/τ (-2 u2 + Σ_{v∈V\\u1} (s_v + t_v) v), V the batch from the branch that learns.
    """

    normalisation, row_by_row = "l2", False

    def __init__(self, temperature: float, balance: float) -> None:
        super().__init__()
        _check_positive(temperature=temperature)
        self.temperature, self.balance, self.scale = temperature, balance, 1 / temperature
        self.samples = CurrentBatch()

    def observe(self, samples: torch.Tensor) -> None:
        self.views = len(samples)
        self.samples.update(samples)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return 2 * attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """Both sums of Eq. 3 over the batch without u1 itself, whose place follows from the view and the rank."""
        rows = self.samples.rows
        itself = torch.zeros(len(u1), len(rows), dtype=torch.bool, device=u1.device)
        if view < self.views:  # a local crop is no sample
            itself.diagonal(view * len(rows) // self.views + distributed.rank() * len(u1))[: len(u1)].fill_(True)
        as_anchor = repel_softmax(u1, rows, self.temperature, itself)
        return as_anchor + repel_as_sample(u1, rows, self.temperature, itself)


class Predicted(nn.Module):
    """Row c: L = -cos(h(u1), u2) (Eq. 5), h a learned predictor: linear, BN, ReLU, linear (BYOL, SimSiam).

    Args: width, C of the rows; hidden, channels between the two linear layers.
    """

    normalisation = "l2"

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            ViewBatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, width),
        )

    def observe(self, samples: torch.Tensor) -> None:
        """Nothing is remembered; only the width is checked."""
        width = self.predictor[0].in_features
        if samples.shape[-1] != width:
            raise UserError(
                f"rows have {samples.shape[-1]} channels, but the predictor was built for {width}: build it with width="
                f"{samples.shape[-1]}."
            )

    def loss(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return -(functional.normalize(self.predictor(u1), dim=-1) * u2).sum(-1)


class DirectPred(nn.Module):
    """Row d: dL/du1 = 1/‖W u1‖ (-W u2 + λ (F/λ_max + ε²) u1), λ = u2·W u1 / u1·(F/λ_max + ε²) u1 (Eq. 7, 24, 27).

    W is a function of F, not learned (Eq. 6). λ and the norm differ from row to row, so both are inside `positive`
    and `negative`, and `balance` and `scale` are 1.

    Args: eps, ε; predictor_every, steps between two eighs of F (each one waits for a GPU); middle_term, keep
        2ε (F/λ_max)^{1/2} in W W (Eq. 25), which makes it the exact gradient of Eq. 5 (Table 6).
    """

    normalisation, balance, scale, row_by_row = "l2", 1.0, 1.0, True

    def __init__(self, rho: float, eps: float, predictor_every: int, middle_term: bool) -> None:
        super().__init__()
        _check_positive(eps=eps, predictor_every=predictor_every)
        self.eps, self.predictor_every, self.middle_term = eps, predictor_every, middle_term
        self.correlation = FeatureCorrelation(rho)
        self.register_buffer("through", torch.empty(0, 0))
        self.register_buffer("largest", torch.ones(()))
        self.num_updates = 0
        self.register_load_state_dict_pre_hook(adopt_shapes)

    def get_extra_state(self) -> int:
        """Counted on the host, for a step must not wait to know whether it is its turn."""
        return self.num_updates

    def set_extra_state(self, state: int) -> None:
        self.num_updates = state

    def prepare(self, samples: torch.Tensor) -> None:
        self.correlation.begin(samples.flatten(0, 1))

    def observe(self, samples: torch.Tensor) -> None:
        """Update F, and W where it is its turn."""
        self.correlation.update(samples.flatten(0, 1))
        if self.num_updates % self.predictor_every == 0:
            self.through, self.largest = direct_predictor(self.correlation.corr, self.eps)
        self.num_updates += 1

    def dynamic_balance(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """λ of every row, (n, 1) (Eq. 24)."""
        predicted = u1 @ self.through
        return (u2 * predicted).sum(-1, True) / (u1 * self._twice(u1, predicted)).sum(-1, True)

    def _twice(self, u1: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        return twice_predicted(u1, predicted, self.correlation.corr, self.largest, self.eps, self.middle_term)

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract_through(u2, self.through) / (u1 @ self.through).norm(dim=-1, keepdim=True)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        """λ W W u1 / ‖W u1‖, the dynamic λ included."""
        predicted = u1 @ self.through
        twice = self._twice(u1, predicted)
        balance = (u2 * predicted).sum(-1, True) / (u1 * twice).sum(-1, True)
        return balance * twice / predicted.norm(dim=-1, keepdim=True)


class UniGrad(nn.Module):
    """Row e: dL/du1 = -u2 + λ F u1 (Eq. 14), F from the samples of both views, updated before it is used.

    Args: balance, λ, about 0.05 C (the paper's 100 at C = 2048; 4 C collapses); rho, of F.
    """

    normalisation, scale, row_by_row = "l2", 1.0, True

    def __init__(self, balance: float, rho: float) -> None:
        super().__init__()
        self.balance = balance
        self.correlation = FeatureCorrelation(rho)

    def prepare(self, samples: torch.Tensor) -> None:
        self.correlation.begin(samples.flatten(0, 1))

    def observe(self, samples: torch.Tensor) -> None:
        self.correlation.update(samples.flatten(0, 1))

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2)

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_correlation(u1, self.correlation.corr)


class BarlowTwins(nn.Module):
    """Rows f, g, h: dL/du1 = 2 (-A u2 + λ Σ_{v∈V_batch} (u2·v2 / N) v1) (Eq. 9), A = I - (1-λ) W_diag, or I.

    Args: normalisation, "bn" (f, g) or "l2" (h); identity, A = I (g, h).
    """

    scale, row_by_row = 2.0, False

    def __init__(self, balance: float, normalisation: str, identity: bool) -> None:
        super().__init__()
        self.balance, self.normalisation, self.identity = balance, normalisation, identity

    def observe(self, samples: torch.Tensor) -> None:
        """Nothing is remembered."""

    def diagonal(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        """(C,) diagonal of A, from the cross-correlation W of the global batch (Eq. 8, 9)."""
        return 1 - (1 - self.balance) * distributed.all_mean((u1 * u2).mean(0))

    def positive(self, u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
        return attract(u2) if self.identity else attract_through(u2, self.diagonal(u1, u2))

    def negative(self, u1: torch.Tensor, u2: torch.Tensor, view: int) -> torch.Tensor:
        return repel_cross(u2, distributed.all_gather(u2), distributed.all_gather(u1))


class VICReg(nn.Module):
    """Row i: dL/du1 = 2 (-u2 + λ Σ_{v∈V_batch} (ũ1·ṽ1 / N) ṽ1 + u1 - λB ũ1) (Eq. 11), ~ less the batch's mean.

    Its positive gradient holds the whole last bracket of Eq. 11, the deviation term, which reads u1 alone.

    Args: variance, λ2, weight of the hinge on the standard deviation, by default C/2, which is VICReg's own weight
        beside its distance (25 to 25, halved over the views) in Eq. 10's scale (provenance: assumed); gamma, γ, the
        deviation it asks for.
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


class VICRegL2(nn.Module):
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


def _samples_of(view: int, samples: torch.Tensor) -> torch.Tensor:
    """(M, C) of all ranks: the samples (G, n, C) of the view itself, or of all G where it is a local crop."""
    return distributed.all_gather(samples[view] if view < len(samples) else samples.flatten(0, 1))


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name}={value} is out of range: it must be above 0.")
